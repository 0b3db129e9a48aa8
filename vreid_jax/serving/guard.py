"""What stands before every request: names of the host, other pages, sizes, who is signed in; and headers of every answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response

from vreid_jax.serving.address import Address
from vreid_jax.serving.refusal import Refusal
from vreid_jax.serving.sessions import COOKIE, Sessions
from vreid_jax.serving.uploads import MOST_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MOST_FORM = 1 << 16  # bytes of a form without a file
ROOM = 1 << 16  # bytes of an upload beside the file
OPEN = ("/sign-in", "/static/")  # to strangers
UPLOADS = ("/upload", "/api/uploads")

FAILED = "The server failed; its own log says why."  # the error's own text may name folders
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self' blob:; media-src blob:; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with "no-referrer", browsers send the forms of our own pages with `Origin: null`
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",  # who is forgotten must not live on in the caches of browsers
    "x-robots-tag": "noindex",
}

log = logging.getLogger(__name__)


class Guard:
    """Lets through what may pass, with `state["user"]` set for those who are signed in."""

    def __init__(self, app: App, address: Address, sessions: Sessions):
        """Stand before `app`."""
        self._app, self._address, self._sessions = app, address, sessions

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                kept = [pair for pair in message["headers"] if pair[0].decode().lower() not in HEADERS]
                message = {**message, "headers": kept + own}
            await send(message)

        try:
            self._check(scope, headers)
            limited = _limited(receive, self._most_bytes(scope), headers)
            if (answer := self._stranger(scope, headers)) is not None:
                await answer(scope, receive, sent)
                return
            await self._app(scope, limited, sent)
        except Refusal as refusal:
            if not started:
                answer = JSONResponse({"error": refusal.sentence}, refusal.status)
                await answer(scope, receive, sent)
        except Exception:
            log.exception("a request failed")
            if not started:
                answer = JSONResponse({"error": FAILED}, 500)
                await answer(scope, receive, sent)

    def _check(self, scope: Message, headers: dict[str, str]) -> None:
        """Refuse a request that was made under another name or by a page of another site."""
        host = headers.get("host", "")
        if not self._address.may_be_called(host):
            raise Refusal(421, "This server is not known by that name: open it by its own address.")
        other_site = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if other_site and (headers.get("sec-fetch-mode") != "navigate" or scope["method"] != "GET"):
            raise Refusal(403, "The request was made by a page of another site.")
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD") and _host_of(origin) != host:
            raise Refusal(403, "The request was made by a page of another site.")

    def _most_bytes(self, scope: Message) -> int:
        return MOST_BYTES + ROOM if scope["path"] in UPLOADS else MOST_FORM

    def _stranger(self, scope: Message, headers: dict[str, str]) -> Response | None:
        """Note who sends the request; return the answer for one who has to sign in first."""
        session = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        address = (scope.get("client") or ("unknown",))[0]
        user = self._sessions.user(session, bearer.strip() if scheme.lower() == "bearer" else "", address)
        scope.setdefault("state", {})["user"] = user
        if user is not None or scope["path"].startswith(OPEN):
            return None
        if scope["path"].startswith("/api/") or scope["method"] != "GET":
            return JSONResponse(
                {"error": "Sign in first: send the header Authorization: Bearer TOKEN."},
                401,
                {"www-authenticate": "Bearer"},
            )
        return RedirectResponse("/sign-in", 303)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # half of the brackets of an IPv6 address, for example
        return None


def _limited(receive: Receive, most: int, headers: dict[str, str]) -> Receive:
    """Return `receive` that refuses more than so many bytes, stated or sent."""
    stated = headers.get("content-length", "0")
    if not stated.isdecimal() or int(stated) > most:
        raise Refusal(413, f"The request is too large: at most {_size(most)} are taken.")
    seen = 0

    async def received() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise Refusal(413, f"The request is too large: at most {_size(most)} are taken.")
        return message

    return received


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count >> 10} kB"
