"""When a video was recorded and how long its gallery may be kept: what a gallery notes, and what it refuses."""

import cv2
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.search import open_gallery
from vreid_jax.search.recording import is_moment, moment_text, zone_of


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-03-02T09:00:00+01:00", "2026-03-02T09:00:00+01:00"),
        ("2026-03-02 09:00Z", "2026-03-02T09:00:00+00:00"),
        ("0", "1970-01-01T00:00:00+00:00"),
        ("86461.5", "1970-01-02T00:01:01.500000+00:00"),
        ("100000000", "1973-03-03T09:46:40+00:00"),
        ("1772438461.5", "2026-03-02T08:01:01.500000+00:00"),
        ("20260302T0900+0100", "2026-03-02T09:00:00+01:00"),
    ],
)
def test_a_moment_is_kept_as_iso_text(given, kept):
    assert moment_text(given) == kept
    assert is_moment(kept)


@pytest.mark.parametrize(
    "text",
    [
        "2026",
        "86461",
        "260302",
        "202603020930",
        "2603020900",
        "4070908800",
        "",
        "now",
        "2026-13-01T00:00:00Z",
        "-5",
        "1e9",
        "nan",
        "2026-03-02T09:00:00+99:00",
        "0" * 99,
    ],
)
def test_what_is_not_a_moment_is_refused(text):
    with pytest.raises(InputError, match="is not a moment"):
        moment_text(text)


@pytest.mark.parametrize("text", ["2026-03-02T09:00:00", "2026-03-02", "20260302", "20260302.0930"])
def test_a_moment_without_a_zone_is_refused(text):
    with pytest.raises(
        InputError, match=r"has no zone, .*: give a date and time with its zone, .* in at least nine digits"
    ):
        moment_text(text)


@pytest.mark.parametrize("value", [5, None, "86461", "now", "2026-03-02T09:00:00"])
def test_metadata_that_are_not_a_moment_are_told(value):
    assert not is_moment(value)


def test_embed_notes_both_in_the_gallery(vreid, workdir, tmp_path):
    pytest.importorskip("pyarrow")
    video, tracks = tmp_path / "walk.avi", tmp_path / "tracks.txt"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (64, 48))
    for level in (10, 120, 240):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    tracks.write_text("".join(f"{frame},3,4,4,20,40,1,-1,-1,-1\n" for frame in (1, 2, 3)))
    flags = ["embed", video, f"--tracks={tracks}", f"--model={workdir}", "--quiet"]
    noted = [*flags, "--start=2026-03-02T09:00Z", "--retention-days=30", f"--out={tmp_path / 'noted.parquet'}"]
    assert vreid(*noted)[0] == 0
    about = open_gallery(tmp_path / "noted.parquet").about
    assert (about["recorded_at"], about["retention_days"]) == ("2026-03-02T09:00:00+00:00", 30)
    assert vreid(*flags, f"--out={tmp_path / 'plain.parquet'}")[0] == 0
    about = open_gallery(tmp_path / "plain.parquet").about
    assert (about["recorded_at"], about["retention_days"]) == (None, None)


@pytest.mark.parametrize(
    ("moments", "name"),
    [
        (["2026-03-02T09:00:00+05:30", None, "2026-07-02T09:00:00+05:30"], "UTC+05:30"),
        (["2026-03-02T09:00:00+01:00", "2026-07-02T09:00:00+02:00"], "UTC"),
        (["2026-03-02T09:00:00Z"], "UTC"),
        ([None], "UTC"),
    ],
)
def test_recordings_are_shown_in_the_offset_that_all_state_or_in_utc(moments, name):
    assert str(zone_of(moments)) == name
