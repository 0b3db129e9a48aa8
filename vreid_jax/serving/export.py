"""A ranked list as a page of its own: one file that works without the server and holds no address."""

from __future__ import annotations

import base64

from vreid_jax.report.film_rows import Film, FilmRow, film_rows
from vreid_jax.report.page import page_text
from vreid_jax.report.tables import table
from vreid_jax.search.ranked import CALIBRATE, OWN_THRESHOLD
from vreid_jax.serving.asked import filters_in_words, shown
from vreid_jax.serving.identities import Key
from vreid_jax.serving.rendering import SMALLEST, STYLES, measured_on, when, who
from vreid_jax.serving.searching import Question
from vreid_jax.serving.service import Service
from vreid_jax.serving.uploads import Upload

MOVES = "Hover over a picture, or tap it, to see it walk. Left and right keys move along the list."


def exported_page(service: Service, asked: Key | Upload, question: Question, *, blur: bool) -> str:
    """Return the page of one query.

    Args:
      service: what is served.
      asked: the names of a gallery and of a tracklet in it, or an upload.
      question: how to search.
      blur: whether to blur every head.

    Raises:
      Refusal: as `Service.search`, and when the pictures of a tracklet have gone.
    """
    people, rule, found = service.search(asked.vector if isinstance(asked, Upload) else asked, question)
    if isinstance(asked, tuple):
        place: int | None = people.place(*asked)
        camera, measured = people.columns["camid"][place].item(), measured_on(rule, "the query's gallery")
        told = shown(people, service, place)
        title, lines, name = f"Nearest to {told['tracklet']}", [when(told)], who(told)
        picture = service.strips.of_person(people, place, "small", blur=blur)
    else:
        place, camera, measured = None, 0, measured_on(rule, SMALLEST)
        title, lines, name = "Nearest to an upload", [], "an upload"
        picture = service.strips.of_frames(asked.frames, "small", blur=blur)
    films = [Film("asked", "query", lines, name, _address(picture))]
    for each in found:
        told = shown(people, service, each.place)
        facts = [str(each.rank), f"{each.distance:.3g}", told["name"], when(told)]
        strip = service.strips.of_person(people, each.place, "small", blur=blur)
        films.append(Film(STYLES[each.verdict], each.verdict, facts, who(told), _address(strip)))
    if rule is None:
        caution = (
            f"The page shows an order and does not say who is the same person: {people.undecided(place)}. {OWN_THRESHOLD} "
            f"{CALIBRATE}"
        )
    else:
        caution = "Treat tracklets within the threshold as candidates, not as the same person."
    about = people.about
    told_filters = [(name, value) for name, value in filters_in_words(question).items() if name != "k"]
    filters = "".join(f", {name.replace('_', ' ')} {value}" for name, value in told_filters)
    facts = [
        ["galleries", ", ".join(people.galleries)],
        ["model", f"{about['model']} {about['fingerprint']}"],
        ["tracklets", str(len(people))],
        ["distance", str(about["metric"])],
        ["asked for", f"the nearest {question.k}{filters}"],
        ["heads", "blurred" if blur or service.options.blur_faces else "not blurred"],
    ]
    if rule is not None:
        facts.append(["within the threshold", f"up to {rule.threshold:.4g}"])
        facts.append(["measured on", measured])
    rows = [FilmRow("all", camera, title, films)]
    sections = {"Search": table(["", ""], facts), "Nearest tracklets": film_rows(rows, {}, MOVES)}
    blurred = blur or service.options.blur_faces
    return page_text(f"search {', '.join(people.galleries)}", title, sections, caution=caution, blurred=blurred)


def _address(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
