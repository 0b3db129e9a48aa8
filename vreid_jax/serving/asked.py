"""What requests ask for, parsed once: the same words in the address of a page and in that of the API."""

from __future__ import annotations

import datetime
import math
from typing import Annotated, Any

from fastapi import Depends, Form, Header, Query, Request
from pydantic import BeforeValidator, Field

from vreid_jax.serving.people import Filters, People
from vreid_jax.serving.refusal import Refusal
from vreid_jax.serving.searching import MOST_FOUND, Question
from vreid_jax.serving.service import Service
from vreid_jax.serving.sessions import User


def _none_for_empty(value: Any) -> Any:
    """Return None for the empty text that a form sends for what was not filled in."""
    return None if value == "" else value


Optional = BeforeValidator(_none_for_empty)
LONGEST = 500  # letters of a name
Name = Annotated[str, Query(max_length=LONGEST)]


def _service(request: Request) -> Service:
    return request.app.state.service


def _user(request: Request) -> User:
    user = request.state.user
    if user is None:
        raise Refusal(401, "Sign in first.")
    return user


Serving = Annotated[Service, Depends(_service)]
Signed = Annotated[User, Depends(_user)]


def _filters(
    service: Serving,
    in_gallery: Annotated[str, Query(max_length=LONGEST, description="file name of a gallery; empty: any")] = "",
    camera: Annotated[
        Annotated[int, Field(ge=0)] | None, Optional, Query(description="number of a camera, 0: unknown")
    ] = None,
    after: Annotated[
        str,
        Query(max_length=40, description="seconds of the video, or a date and time; tracklets that end then or later"),
    ] = "",
    before: Annotated[str, Query(max_length=40, description="likewise; tracklets that begin then or earlier")] = "",
) -> Filters:
    """Return the filters of a request."""
    (low, low_clock), (high, high_clock) = moment(after, service), moment(before, service)
    if after and before and low_clock != high_clock:
        raise Refusal(400, "Give both times as seconds of the video, or both as dates.")
    return Filters(in_gallery, camera, low, high, low_clock or high_clock)


Filtered = Annotated[Filters, Depends(_filters)]


def _question(
    filters: Filtered,
    k: Annotated[
        Annotated[int, Field(ge=1, le=MOST_FOUND)] | None, Optional, Query(description="how many to find")
    ] = 20,
    other_cameras: Annotated[bool | None, Optional, Query(description="leave out the query's own camera")] = False,
    max_distance: Annotated[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, Optional, Query()] = None,
    false_accept_rate: Annotated[
        Annotated[float, Field(gt=0, le=1)] | None, Optional, Query(description="of the threshold")
    ] = None,
) -> Question:
    """Return the question of a request."""
    return Question(filters, k or 20, bool(other_cameras), max_distance, false_accept_rate)


Asked = Annotated[Question, Depends(_question)]


def moment(text: str, service: Service) -> tuple[float | None, bool]:
    """Return a time, None for empty text, and whether it is a date: seconds since 1970, else seconds of the video.

    A date without a zone is of the one that the pages show.
    """
    if not text:
        return None, False
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if not math.isfinite(seconds):
            raise Refusal(400, "A time is a number of seconds, or a date and time such as 2026-05-04T08:00.")
        return seconds, False
    try:
        stated = datetime.datetime.fromisoformat(text)
        return (stated if stated.tzinfo else stated.replace(tzinfo=service.people().zone)).timestamp(), True
    except (ValueError, OverflowError) as error:
        raise Refusal(400, "A time is a number of seconds, or a date and time such as 2026-05-04T08:00.") from error


def check_form(
    service: Serving,
    user: Signed,
    csrf: Annotated[str, Form(max_length=LONGEST)] = "",
    x_csrf_token: Annotated[str, Header(max_length=LONGEST)] = "",
) -> User:
    """Return who sent a form of this server's pages; `Refusal` for a form of anybody else's."""
    if not service.sessions.is_form_token(user, x_csrf_token or csrf):
        raise Refusal(
            403, "The form is not of a page of this server, or the server was started again: reload the page."
        )
    return user


def check_header(service: Serving, user: Signed, x_csrf_token: Annotated[str, Header(max_length=LONGEST)] = "") -> User:
    """Return who sent a request with JSON, as `check_form` does."""
    return check_form(service, user, "", x_csrf_token)


FormOf = Annotated[User, Depends(check_form)]
JsonOf = Annotated[User, Depends(check_header)]


def filters_in_words(question: Question) -> dict[str, Any]:
    """Return what restricts a question, for the audit log."""
    filters = question.filters
    found = {
        "in_gallery": filters.gallery,
        "camera": filters.camera,
        "after": filters.after,
        "before": filters.before,
        "other_cameras": question.other_cameras,
        "max_distance": question.max_distance,
    }
    return {"k": question.k, **{name: value for name, value in found.items() if value not in (None, "", False)}}


def shown(people: People, service: Service, place: int) -> dict[str, Any]:
    """Return what is told about a tracklet, with the identity that it was linked to."""
    told = people.of(place)
    identities = service.identities()
    member = identities.of_key(people.key(place)) if identities else None
    told |= {"identity": None, "name": "", "confidence": None}
    if member and member.identity:
        assert identities
        told |= {
            "identity": member.identity,
            "name": identities.names.get(member.identity, ""),
            "confidence": member.confidence,
        }
    return told
