"""The pages' templates, and the words in them."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any
from urllib.parse import urlencode

import jinja2
from fastapi import Request
from starlette.responses import HTMLResponse

from vreid_jax.report.rendering import environment_of
from vreid_jax.search.gallery import last_part
from vreid_jax.search.ranked import Decision
from vreid_jax.serving.service import Service
from vreid_jax.serving.sessions import User

STYLES = {
    "within": "right",
    "perhaps": "open",
    "beyond": "wrong",
    "same time": "wrong",
    "": "open",
}  # frames, as on the pages of reports
WORDS = {
    "within": "within the threshold",
    "perhaps": "perhaps one person, in the band behind the threshold",
    "beyond": "beyond the threshold",
    "same time": "seen at the same time, so another person",
    "": "not decided",
}

SMALLEST = "the gallery with the smallest threshold"  # whose decides for an upload


def page(request: Request, template: str, user: User | None, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page of `serving/templates/`.

    Args:
      request: that it answers.
      template: file name.
      user: who asked; None for a stranger.
      status: of HTTP.
      **values: what the template names; text is escaped.
    """
    service: Service = request.app.state.service
    text = (
        _environment()
        .get_template(template)
        .render(
            user=user,
            csrf=service.sessions.form_token(user) if user else "",
            can_sign_out=service.sessions.needs_token and user is not None,
            has_identities=service.options.identities is not None,
            takes_uploads=service.takes_uploads,
            here=request.url.path,
            **values,
        )
    )
    return HTMLResponse(text, status)


def address(path: str, **parameters: Any) -> str:
    """Return a path of this server with its parameters, those that are None or empty left out."""
    given = {name: value for name, value in parameters.items() if value not in (None, "", False)}
    return f"{path}?{urlencode(given)}" if given else path


@functools.cache
def static(name: str) -> bytes:
    """Return a file that pages include: the style of all pages of the library and of these, or the script."""
    own = (resources.files("vreid_jax.serving") / "static" / name).read_bytes()
    if name != "style.css":
        return own
    return (resources.files("vreid_jax.report") / "style.css").read_bytes() + own


def when(told: Mapping[str, Any]) -> str:
    """Return the time of a tracklet: of day with its offset from UTC, or in seconds of the video; empty where it is not known."""
    if told["begins"]:
        return datetime.datetime.fromisoformat(told["begins"]).strftime("%Y-%m-%d %H:%M:%S %Z")
    if told["start_seconds"] is not None:
        return f"{told['start_seconds']:.1f}–{told['end_seconds']:.1f} s"
    return ""


def who(told: Mapping[str, Any]) -> str:
    """Return what a tracklet is called for the pointer and for screen readers."""
    parts = [told["tracklet"], told["name"] or (f"person {told['identity']}" if told["identity"] else "")]
    parts.append(f"camera {told['camera']}" if told["camera"] else "camera unknown")
    return ", ".join(filter(None, [*parts, when(told)]))


def measured_on(rule: Decision | None, gallery: str) -> str:
    """Return what a threshold was measured on; `gallery`: what that is called whose footage it was."""
    if rule is None:
        return ""
    if rule.pairs:
        return f"{rule.pairs} pairs of people seen at once in {gallery}"
    return last_part(rule.dataset) or "the test set of the model"


def _of_tracklet(told: Mapping[str, Any], path: str = "/person") -> str:
    return address(path, gallery=told["gallery"], tracklet=told["tracklet"])


@functools.cache
def _environment() -> jinja2.Environment:
    environment = environment_of("vreid_jax.serving")
    environment.globals |= {
        "address": address,
        "of_tracklet": _of_tracklet,
        "when": when,
        "who": who,
        "styles": STYLES,
        "words": WORDS,
    }
    return environment
