"""The API for programs: JSON under `/api`, described by `/api/openapi.json`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from vreid_jax.retrieval import pairwise_distance
from vreid_jax.search.gallery import last_part
from vreid_jax.search.ranked import Decision
from vreid_jax.serving.asked import (
    Asked,
    Filtered,
    FormOf,
    JsonOf,
    Name,
    Optional,
    Serving,
    Signed,
    filters_in_words,
    shown,
)
from vreid_jax.serving.people import People
from vreid_jax.serving.refusal import Refusal
from vreid_jax.serving.searching import Found, verdict
from vreid_jax.serving.service import Service
from vreid_jax.serving.sessions import User
from vreid_jax.serving.uploads import MOST_BYTES, Part

router = APIRouter(prefix="/api")


class Tracklet(BaseModel):
    """One person, seen by one camera for a while. What is null is not known."""

    gallery: str = Field(description="file name of its gallery")
    tracklet: str = Field(description="its name, unique in the gallery")
    camera: int | None
    person: int | None = Field(description="who it is, where the gallery was made from a dataset that says so")
    split: str
    frames: int
    first_frame: int | None
    last_frame: int | None
    start_seconds: float | None = Field(description="of the video")
    end_seconds: float | None
    begins: str | None = Field(description="date and time, where it is known when the video was recorded")
    ends: str | None
    identity: int | None = Field(description="to whom `vreid link` linked it")
    name: str
    confidence: float | None


class FoundTracklet(Tracklet):
    """A tracklet that a search found."""

    rank: int
    distance: float
    verdict: Literal["within", "perhaps", "beyond", "same time", ""] = Field(
        description="of the threshold of the query's gallery, for an upload the smallest of those of all galleries; same time: seen at once with the query, so somebody else; empty: nothing decides"
    )


class Answer(BaseModel):
    """What a search found, nearest first."""

    found: list[FoundTracklet]


class TrackletPage(BaseModel):
    """Some of the tracklets that filters leave."""

    total: int
    tracklets: list[Tracklet]


class Comparison(BaseModel):
    """Two tracklets and how far they are from each other."""

    a: Tracklet
    b: Tracklet
    distance: float
    verdict: Literal["within", "perhaps", "beyond", "same time", ""]


class Identity(BaseModel):
    """A person, as linked."""

    identity: int
    name: str
    tracklets: list[Tracklet]


class Uploaded(BaseModel):
    """The name under which an upload is kept for half an hour."""

    upload: str


class Correction(BaseModel):
    """What a person decided: a merge (`same`), a split (`different`), or a name."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["same", "different", "name"]
    tracklets: list[tuple[str, str]] = Field(max_length=1000, description="pairs of gallery and tracklet")
    others: list[tuple[str, str]] = Field(default=[], max_length=1000, description="whom they are not, of a split")
    name: str = Field(default="", max_length=200)


@router.get("/about")
def about(service: Serving, user: Signed) -> dict[str, Any]:
    """Return what is served: galleries, the model, the distance, cameras, and what decides who is the same person."""
    people = service.people()
    stated = people.about
    return {
        "galleries": {name: len(table) for name, table in people.galleries.items()},
        "model": stated["model"],
        "fingerprint": stated["fingerprint"],
        "metric": stated["metric"],
        "measured_on": last_part(stated.get("dataset")),
        "cameras": people.cameras,
        "tracklets": len(people),
        "undecided": people.undecided(),
        "identities": service.identities() is not None,
        "uploads": service.takes_uploads,
        "most_bytes": MOST_BYTES,
        "user": user.name,
    }


@router.get("/session")
def session(service: Serving, user: Signed) -> dict[str, str]:
    """Return who is signed in, and what a browser sends as `X-CSRF-Token`; a program that sends the token does not need it."""
    return {"name": user.name, "csrf": service.sessions.form_token(user)}


@router.get("/tracklets", response_model=TrackletPage)
def tracklets(
    service: Serving,
    user: Signed,
    filters: Filtered,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 60,
) -> dict:
    """Return tracklets that filters leave, in the order of the galleries and of their time."""
    people = service.people()
    places = browse(people, filters)
    service.log("browse", user, shown=len(places[offset : offset + limit]), offset=offset)
    return {
        "total": len(places),
        "tracklets": [shown(people, service, place) for place in places[offset : offset + limit].tolist()],
    }


def browse(people: People, filters) -> np.ndarray:
    """Return the places of the tracklets that filters leave, by time of day, by gallery, by second of the video."""
    places = np.flatnonzero(~people.hidden(filters))
    keys = (people.row, people.columns["start_seconds"], people.gallery, people.clock[:, 0])
    return places[np.lexsort([key[places] for key in keys])]


@router.get("/search", response_model=Answer)
def search(service: Serving, user: Signed, question: Asked, gallery: Name, tracklet: Name) -> dict:
    """Find the tracklets nearest to one of a gallery."""
    service.people().place(gallery, tracklet)  # the log has no searches for what is not there
    service.log("search", user, gallery=gallery, tracklet=tracklet, **filters_in_words(question))
    people, _, found = service.search((gallery, tracklet), question)
    return {"found": told(people, service, found)}


@router.post("/uploads", status_code=201, response_model=Uploaded)
async def upload(
    service: Serving,
    user: FormOf,
    file: Annotated[UploadFile, File(description="JPEG, PNG, MP4, MOV, MKV, WebM or AVI of one person")],
    left: Annotated[Annotated[float, Field(ge=0, lt=1)] | None, Optional, Form()] = 0.0,
    top: Annotated[Annotated[float, Field(ge=0, lt=1)] | None, Optional, Form()] = 0.0,
    width: Annotated[Annotated[float, Field(gt=0, le=1)] | None, Optional, Form()] = 1.0,
    height: Annotated[Annotated[float, Field(gt=0, le=1)] | None, Optional, Form()] = 1.0,
) -> dict:
    """Embed a picture or a short video of a person; the rectangle, in shares of the picture, says where they are."""
    part = (left or 0.0, top or 0.0, width or 1.0, height or 1.0)
    return {"upload": await take_upload(service, user, file, part)}


async def take_upload(service: Service, user: User, file: UploadFile, part: Part) -> str:
    """Embed an uploaded file and return the name under which it is kept."""
    content = await file.read(MOST_BYTES + 1)
    name = await asyncio.to_thread(service.upload, content, part)
    service.log("upload", user, sha256=service.uploads.get(name).digest, bytes=len(content), part=list(part))
    return name


@router.get("/uploads/{upload}/search", response_model=Answer)
def search_upload(service: Serving, user: Signed, question: Asked, upload: str) -> dict:
    """Find the tracklets nearest to an upload."""
    query = service.uploads.get(upload)
    service.log("search", user, sha256=query.digest, **filters_in_words(question))
    people, _, found = service.search(query.vector, question)
    return {"found": told(people, service, found)}


@router.get("/picture", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
def picture(
    service: Serving, user: Signed, gallery: Name, tracklet: Name, size: Literal["small", "large"] = "small"
) -> Response:
    """Return eight frames of a tracklet side by side, each 48 x 96 or 96 x 192 pixels, as a JPEG."""
    people = service.people()
    place = people.place(gallery, tracklet)
    service.log_look(user, gallery=gallery, tracklet=tracklet)
    return Response(service.strips.of_person(people, place, size), media_type="image/jpeg")


@router.get("/uploads/{upload}/picture", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
def picture_of_upload(
    service: Serving, user: Signed, upload: str, size: Literal["small", "large"] = "small"
) -> Response:
    """Return eight frames of an upload, as `/api/picture`."""
    query = service.uploads.get(upload)
    service.log_look(user, sha256=query.digest)
    return Response(service.strips.of_frames(query.frames, size), media_type="image/jpeg")


@router.get("/compare", response_model=Comparison)
def compare(
    service: Serving,
    user: Signed,
    question: Asked,
    gallery: Name,
    tracklet: Name,
    other_gallery: Name,
    other: Name,
) -> dict:
    """Return two tracklets, and what the threshold of the first one's gallery says of them."""
    people = service.people()
    a, b = people.place(gallery, tracklet), people.place(other_gallery, other)
    service.log("compare", user, tracklets=[[gallery, tracklet], [other_gallery, other]])
    return compared(people, service, a, b, people.rule(a, question.false_accept_rate))


def compared(people: People, service: Service, a: int, b: int, rule: Decision | None) -> dict:
    """Return two tracklets, their distance, and the word for it."""
    distance = float(pairwise_distance(people.vectors[[a]], people.vectors[[b]], people.about["metric"])[0, 0])
    at_once = bool(people.at_once(a, np.array([b]))[0])
    word = verdict(rule, distance, at_once)
    return {"a": shown(people, service, a), "b": shown(people, service, b), "distance": distance, "verdict": word}


@router.get("/identities", response_model=list[Identity])
def identities(
    service: Serving,
    user: Signed,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 60,
) -> list[dict]:
    """Return the people that `vreid link` found, by number."""
    people, known = service.people(), linked(service)
    service.log("identities", user, offset=offset)
    return [
        {
            "identity": number,
            "name": known.names.get(number, ""),
            "tracklets": [shown(people, service, people.place(*key)) for key in here(people, known.members[number])],
        }
        for number in sorted(known.members)[offset : offset + limit]
    ]


@router.post("/corrections", status_code=201)
def correct(service: Serving, user: JsonOf, correction: Correction) -> dict[str, str]:
    """Merge, split or name; the next `vreid link --into` respects it, and names hold at once."""
    take_correction(service, user, correction.kind, correction.tracklets, correction.others, correction.name)
    return {"noted": correction.kind}


def take_correction(
    service: Service,
    user: User,
    kind: str,
    tracklets: Sequence[tuple[str, str]],
    others: Sequence[tuple[str, str]] = (),
    name: str = "",
) -> None:
    """Check a correction, log it, and add it to the file of corrections."""
    known = linked(service)
    correction = known.correction(kind, tracklets, others, name)
    service.log("correct", user, kind=kind, tracklets=tracklets, others=others, name=name)
    known.add(correction)


def linked(service: Service):
    """Return the identities; `Refusal` where none are served."""
    known = service.identities()
    if known is None:
        raise Refusal(404, "No identities are served: `vreid link` makes them, --identities=FILE serves them.")
    return known


def here(people: People, keys: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the tracklets that the galleries still have."""
    return [key for key in keys if people.has(*key)]


def told(people: People, service: Service, found: Sequence[Found]) -> list[dict]:
    """Return what is told about tracklets that were found."""
    return [
        {
            "rank": each.rank,
            "distance": each.distance,
            "verdict": each.verdict,
            **shown(people, service, each.place),
        }
        for each in found
    ]
