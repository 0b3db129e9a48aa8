"""The application: pages and API behind the guard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

import vreid_jax
from vreid_jax.serving import api, pages
from vreid_jax.serving.guard import FAILED, Guard
from vreid_jax.serving.refusal import Refusal
from vreid_jax.serving.rendering import page
from vreid_jax.serving.service import Service

THREADS = 100  # requests that are worked on at once; most of them wait for a search


def make_app(service: Service) -> Guard:
    """Return the ASGI application of a service."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield

    app = FastAPI(
        title="vreid",
        version=vreid_jax.__version__,
        summary="Browse, search and correct galleries of people",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these pages load scripts of other sites
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(api.router)
    app.include_router(pages.router)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failed)  # the guard logs it
    return Guard(app, service.options.address, service.sessions)


def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return _answer(request, refusal.status, refusal.sentence)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _answer(request, 400, "The body of the request is not JSON.")
    field = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return _answer(request, 400, f"{field}: {first['msg'][:1].lower()}{first['msg'][1:]}.")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Refusal):  # of the body, which FastAPI reads
        return _refused(request, error.__cause__)
    words = {404: "There is no such page.", 405: "This page does not take that kind of request."}
    return _answer(request, error.status_code, words.get(error.status_code, "The request cannot be read."))


def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, Refusal):
        return _refused(request, error)
    return _answer(request, 500, FAILED)


def _answer(request: Request, status: int, sentence: str) -> Response:
    """Return a sentence as a page, or as JSON for a program."""
    if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": sentence}, status)
    return page(request, "refusal.html", getattr(request.state, "user", None), status=status, sentence=sentence)
