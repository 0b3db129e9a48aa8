"""Pictures of what a network looks at: which rows they have, of systems that have them and of those that have none."""

import runpy
from pathlib import Path

import pytest

from vreid_jax import data, inference
from vreid_jax.report import insight, ranked_lists
from vreid_jax.report.stored import StoredRun

CONFIGS = Path(__file__).parents[2] / "configs"


def page_of(monkeypatch, model, tracklets):
    monkeypatch.setattr(inference, "load", lambda workdir: model)
    run = StoredRun(Path("run"), model.config, {}, [])
    lists = object.__new__(ranked_lists.Lists)  # of which only the queries count here
    for name, chosen in (("worst", []), ("sample", [ranked_lists.RankedList(0, 1.0, 1, [], None)])):
        object.__setattr__(lists, name, chosen)
    return insight.insight(run, tracklets, lists)


def test_a_system_without_such_pictures_has_no_section(toy, untrained, tiny_builder, monkeypatch):
    assert page_of(monkeypatch, untrained(toy), data.TrackletSource(tiny_builder, "query")) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("person_vlad", {"width": 2, "num_parts": 3, "num_clusters": 4}, "Part maps: where in the clip"),
        ("nonlocal3d", {"width": 4}, "Non-local attention: what the ringed position"),
        ("nonlocal3d", {"width": 4, "network": "average"}, ""),
    ],
)
def test_part_maps_and_attention_are_pictured(name, fields, words, untrained, tiny_builder, monkeypatch):
    config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]("walkers")
    text = page_of(monkeypatch, untrained(config, **fields), data.TrackletSource(tiny_builder, "query"))
    assert words in text
    assert text.count("data:image/jpeg;base64,") == (1 if words else 0)
