"""The pages for people: browse, search, compare, identities, uploads, and the page that is exported."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from pydantic import Field
from starlette.responses import RedirectResponse

from vreid_jax.serving import api
from vreid_jax.serving.asked import Asked, Filtered, FormOf, Name, Optional, Serving, Signed, filters_in_words, shown
from vreid_jax.serving.export import exported_page
from vreid_jax.serving.identities import Key
from vreid_jax.serving.people import People
from vreid_jax.serving.refusal import Refusal
from vreid_jax.serving.rendering import SMALLEST, address, measured_on, page, static
from vreid_jax.serving.service import Service
from vreid_jax.serving.sessions import COOKIE, HOURS, User
from vreid_jax.serving.timeline import draw_timeline
from vreid_jax.serving.uploads import MINUTES, MOST_BYTES

PER_PAGE = 60
MOST_LISTED = 500  # people whom somebody may be merged with
router = APIRouter(include_in_schema=False)


@router.get("/")
def people(
    request: Request, service: Serving, user: Signed, filters: Filtered, offset: Annotated[int, Query(ge=0)] = 0
) -> Response:
    """Show everybody, by camera and time."""
    table = service.people()
    places = api.browse(table, filters)
    some = places[offset : offset + PER_PAGE].tolist()
    service.log("browse", user, shown=len(some), offset=offset)
    return page(
        request,
        "people.html",
        user,
        tracklets=[shown(table, service, place) for place in some],
        total=len(places),
        offset=offset,
        earlier=_turned(request, max(0, offset - PER_PAGE)) if offset else "",
        later=_turned(request, offset + PER_PAGE) if offset + PER_PAGE < len(places) else "",
        **_choices(service, request),
    )


@router.get("/person")
def person(
    request: Request, service: Serving, user: Signed, question: Asked, gallery: Name, tracklet: Name
) -> Response:
    """Show one tracklet and those that are nearest to it."""
    service.people().place(gallery, tracklet)  # the log has no searches for what is not there
    service.log("search", user, gallery=gallery, tracklet=tracklet, **filters_in_words(question))
    table, rule, found = service.search((gallery, tracklet), question)
    place = table.place(gallery, tracklet)
    return page(
        request,
        "person.html",
        user,
        query=shown(table, service, place),
        picture=address("/api/picture", gallery=gallery, tracklet=tracklet, size="large"),
        found=api.told(table, service, found),
        rule=rule,
        measured_on=measured_on(rule, "the query's gallery"),
        undecided=table.undecided(place),
        asked_by={"gallery": gallery, "tracklet": tracklet},
        **_choices(service, request),
    )


@router.get("/uploads/{upload}")
def uploaded(request: Request, service: Serving, user: Signed, question: Asked, upload: str) -> Response:
    """Show an uploaded query and the tracklets that are nearest to it."""
    query = service.uploads.get(upload)
    service.log("search", user, sha256=query.digest, **filters_in_words(question))
    table, rule, found = service.search(query.vector, question)
    return page(
        request,
        "person.html",
        user,
        query=None,
        picture=f"/api/uploads/{upload}/picture?size=large",
        found=api.told(table, service, found),
        rule=rule,
        measured_on=measured_on(rule, SMALLEST),
        undecided=table.undecided(),
        asked_by={"upload": upload},
        minutes=MINUTES,
        **_choices(service, request),
    )


@router.get("/compare")
def compare(
    request: Request,
    service: Serving,
    user: Signed,
    question: Asked,
    gallery: Name,
    tracklet: Name,
    other_gallery: Name,
    other: Name,
) -> Response:
    """Show two tracklets side by side."""
    table = service.people()
    a, b = table.place(gallery, tracklet), table.place(other_gallery, other)
    service.log("compare", user, tracklets=[[gallery, tracklet], [other_gallery, other]])
    rule = table.rule(a, question.false_accept_rate)
    pair = api.compared(table, service, a, b, rule)
    noted = request.query_params.get("noted", "")
    noted = noted if noted in ("same", "different") else ""
    return page(request, "compare.html", user, pair=pair, noted=noted, rule=rule)


@router.get("/upload")
def upload_form(request: Request, service: Serving, user: Signed) -> Response:
    """Show the form for a picture or a video."""
    del service
    return page(request, "upload.html", user, megabytes=MOST_BYTES >> 20, minutes=MINUTES)


@router.post("/upload")
async def upload(
    service: Serving,
    user: FormOf,
    file: Annotated[UploadFile, File()],
    left: Annotated[Annotated[float, Field(ge=0, lt=100)] | None, Optional, Form()] = 0.0,
    top: Annotated[Annotated[float, Field(ge=0, lt=100)] | None, Optional, Form()] = 0.0,
    width: Annotated[Annotated[float, Field(gt=0, le=100)] | None, Optional, Form()] = 100.0,
    height: Annotated[Annotated[float, Field(gt=0, le=100)] | None, Optional, Form()] = 100.0,
) -> Response:
    """Take a picture or a video, and go on to what is nearest to it; the rectangle is in percent."""
    part = ((left or 0.0) / 100, (top or 0.0) / 100, (width or 100.0) / 100, (height or 100.0) / 100)
    name = await api.take_upload(service, user, file, part)
    return RedirectResponse(f"/uploads/{name}", 303)


@router.get("/identities")
def identities(request: Request, service: Serving, user: Signed, offset: Annotated[int, Query(ge=0)] = 0) -> Response:
    """Show the people that were linked."""
    table, known = service.people(), service.identities()
    service.log("identities", user, offset=offset)
    numbers = sorted(known.members) if known else []
    rows = []
    for number in numbers[offset : offset + 20]:
        assert known
        keys = api.here(table, known.members[number])
        films = [shown(table, service, table.place(*key)) for key in keys[:8]]
        cameras = sorted({table.columns["camid"][table.place(*key)].item() for key in keys})
        rows.append(
            {"number": number, "title": known.title(number), "count": len(keys), "cameras": cameras, "films": films}
        )
    return page(
        request,
        "identities.html",
        user,
        rows=rows,
        total=len(numbers),
        unknown=sum(member.identity == 0 for member in known.of.values()) if known else 0,
        served=known is not None,
        offset=offset,
        earlier=_turned(request, max(0, offset - 20)) if offset else "",
        later=_turned(request, offset + 20) if offset + 20 < len(numbers) else "",
    )


@router.get("/identities/{number}")
def identity(
    request: Request,
    service: Serving,
    user: Signed,
    number: int,
    other: Annotated[int | None, Optional, Query()] = None,
) -> Response:
    """Show one person that was linked, on a timeline; `other`: who is to be in the list of whom it may be, however long that is."""
    table, known = service.people(), api.linked(service)
    others = [each for each in sorted(known.members) if each != number]
    listed = others[:MOST_LISTED]
    if other is not None and other != number and other not in listed:
        listed.append(other)
    service.log("look", user, identity=number)
    keys = api.here(table, known.tracklets(number))
    films = sorted(
        (shown(table, service, table.place(*key)) for key in keys),
        key=lambda told: (told["begins"] or "", told["start_seconds"] or 0.0),
    )
    waiting = [each for each in known.waiting if set(each.tracklets + each.others) & set(keys)]
    return page(
        request,
        "identity.html",
        user,
        number=number,
        title=known.title(number),
        name=known.names.get(number, ""),
        films=films,
        timeline=draw_timeline(table, [table.place(*key) for key in keys]),
        waiting=waiting,
        digest=known.digest(number),
        others=[(each, known.digest(each), known.title(each)) for each in listed],
        other=other,
        unlisted=len(others) - len(listed),
    )


@router.post("/identities/{number}")
def correct_identity(
    service: Serving,
    user: FormOf,
    number: int,
    action: Annotated[str, Form(max_length=20)],
    name: Annotated[str, Form(max_length=200)] = "",
    digest: Annotated[str, Form(max_length=100)] = "",
    other: Annotated[str, Form(max_length=100)] = "",
    tracklet: Annotated[list[str] | None, Form(max_length=1000)] = None,
) -> Response:
    """Name an identity, merge it with another, or split chosen tracklets off.

    `digest` is of the identity as the page showed it, and `other` is another's number and digest: numbers are given anew when
    people are linked anew.
    """
    known = api.linked(service)
    keys = known.tracklets(number)
    if action == "name":
        known.refuse_others(number, digest)
        api.take_correction(service, user, "name", keys, name=name)
    elif action == "merge":
        second, _, its_digest = other.partition(" ")
        if not second.isdecimal() or int(second) == number:
            raise Refusal(400, "Choose somebody else who is the same person.")
        known.refuse_others(number, digest)
        known.refuse_others(int(second), its_digest)
        api.take_correction(service, user, "same", [*known.staying(number), *known.staying(int(second))])
    elif action == "split":
        chosen = list(dict.fromkeys(map(_key, tracklet or [])))
        if not set(chosen) <= set(keys):
            raise Refusal(409, "A tracklet that was chosen is not of this identity any more: reload the page.")
        rest = [key for key in keys if key not in chosen]
        if not chosen or not rest:
            raise Refusal(400, "Choose some of the tracklets, but not all: those chosen are somebody else.")
        known.refuse_others(number, digest)
        api.take_correction(service, user, "different", chosen, rest)
    else:
        raise Refusal(400, "Choose what to correct: the name, a merge, or a split.")
    return RedirectResponse(f"/identities/{number}", 303)


@router.post("/corrections")
def correct_pair(
    service: Serving,
    user: FormOf,
    gallery: Annotated[str, Form(max_length=500)],
    tracklet: Annotated[str, Form(max_length=500)],
    other_gallery: Annotated[str, Form(max_length=500)],
    other: Annotated[str, Form(max_length=500)],
    kind: Annotated[str, Form(max_length=20)],
) -> Response:
    """Say of two tracklets that they are one person, or two."""
    a, b = (gallery, tracklet), (other_gallery, other)
    if kind == "same":
        api.take_correction(service, user, "same", [a, b])
    elif kind == "different":
        api.take_correction(service, user, "different", [a], [b])
    else:
        raise Refusal(400, "Two tracklets are the same person or different people.")
    parameters = {
        "gallery": gallery,
        "tracklet": tracklet,
        "other_gallery": other_gallery,
        "other": other,
        "noted": kind,
    }
    return RedirectResponse(address("/compare", **parameters), 303)


@router.post("/export")
def export(
    service: Serving,
    user: FormOf,
    question: Asked,
    gallery: Annotated[str, Form(max_length=500)] = "",
    tracklet: Annotated[str, Form(max_length=500)] = "",
    upload: Annotated[str, Form(max_length=100)] = "",
    blur: Annotated[bool, Form()] = False,
) -> Response:
    """Return a ranked list as a page of its own, one file without any address."""
    if upload:
        query = service.uploads.get(upload)
        about: dict[str, Any] = {"sha256": query.digest}
        asked: Any = query
    else:
        service.people().place(gallery, tracklet)
        asked = (gallery, tracklet)
        about = {"gallery": gallery, "tracklet": tracklet}
    service.log("export", user, blurred=blur or service.options.blur_faces, **about, **filters_in_words(question))
    text = exported_page(service, asked, question, blur=blur)
    return Response(
        text,
        media_type="text/html; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="search.html"'},
    )


@router.get("/about")
def about(request: Request, service: Serving, user: Signed) -> Response:
    """Show what is served, and what to keep in mind."""
    table = service.people()
    paths = request.app.openapi()["paths"]
    calls = [
        (method.upper(), path, call["description"])
        for path, methods in paths.items()
        for method, call in methods.items()
    ]
    return page(request, "about.html", user, about=api.about(service, user), calls=calls, clock=_clock(table))


@router.get("/sign-in")
def sign_in_form(request: Request, service: Serving) -> Response:
    """Show the form that asks for the token."""
    if not service.sessions.needs_token or request.state.user is not None:
        return RedirectResponse("/", 303)
    return page(request, "sign_in.html", None, wrong=False)


@router.post("/sign-in")
def sign_in(
    request: Request,
    service: Serving,
    token: Annotated[str, Form(max_length=500)] = "",
    name: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Begin a session for who knows the token."""
    client = request.client.host if request.client else "unknown"
    right = service.sessions.is_token(token)
    user = User(name, client, "")
    service.log("sign in" if right else "sign in refused", user)
    if not right:
        return page(request, "sign_in.html", None, status=403, wrong=True)
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    session = service.sessions.sign_in(name)
    answer.set_cookie(COOKIE, session, max_age=3600 * HOURS, httponly=True, samesite="strict", secure=secure, path="/")
    return answer


@router.post("/sign-out")
def sign_out(service: Serving, user: FormOf) -> Response:
    """End a session."""
    service.sessions.sign_out(user.session)
    service.log("sign out", user)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/static/{name}")
def static_file(name: str) -> Response:
    """Return the style, the script or the icon of the pages; no other file."""
    kinds = {"style.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
    if name not in kinds:
        raise Refusal(404, "There is no such page.")
    return Response(static(name), media_type=kinds[name])


def _key(text: str) -> Key:
    """Return the tracklet that a box of a form stands for; the name of a gallery has no `/`, that of a tracklet may."""
    gallery, _, tracklet = text.partition("/")
    return gallery, tracklet


def _choices(service: Service, request: Request) -> dict[str, Any]:
    """Return what the form of filters offers, and what was chosen in it."""
    table = service.people()
    chosen = {
        name: value for name, value in request.query_params.items() if name not in ("gallery", "tracklet", "offset")
    }
    return {
        "galleries": list(table.galleries),
        "cameras": table.cameras,
        "clock": _clock(table),
        "chosen": chosen,
        "chosen_query": urlencode(chosen),
    }


def _clock(table: People) -> str:
    """Return the zone of the times that are shown; empty where these are seconds of the videos."""
    return str(table.zone) if table.has_clock else ""


def _turned(request: Request, offset: int) -> str:
    return address(request.url.path, **{**request.query_params, "offset": offset})
