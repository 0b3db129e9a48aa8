import importlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.visualize import clip_pairs
from vreid_jax.visualize.corruption_curves import corruption_curves
from vreid_jax.visualize.pair_rows import pair_rows

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def table(monkeypatch):
    """The module that makes the table whose curves are drawn."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("clip_similarity_table")


def test_the_rows_are_the_heaviest_and_the_lightest_pairs_with_their_own_frames():
    query, gallery = (np.arange(12, dtype=np.uint8).reshape(3, 4, 1, 1, 1).repeat(3, 4) + start for start in (0, 100))
    alpha = np.array([[1.0, 5.0, 2.0], [0.5, 1.0, 0.25], [0.05, 0.1, 0.1]])
    rows = pair_rows(query, gallery, alpha, np.full((3, 3), 0.25), shown=2)
    assert [label.split(",")[0] for label, _ in rows] == [
        "most: clips 1 and 2",
        "most: clips 1 and 3",
        "least: clips 3 and 3",
        "least: clips 3 and 1",
    ]
    assert "weight 50.0 %, cosine 0.25" in rows[0][0]
    frames = rows[0][1]
    np.testing.assert_array_equal([f[0, 0, 0] for f in frames], [0, 1, 2, 3, 255, 104, 105, 106, 107])


def test_a_workdir_without_features_is_said(tmp_path, capsys):
    assert clip_pairs.main([f"--workdir={tmp_path}", f"--out={tmp_path / 'x.png'}"]) == 2
    assert "holds no evaluated run" in capsys.readouterr().err
    assert clip_pairs.main([f"--workdir={tmp_path}", f"--out={tmp_path / 'x.txt'}"]) == 2
    capsys.readouterr()
    assert clip_pairs.main([f"--workdir={tmp_path}", f"--out={tmp_path / 'x.png'}", "--shown=0"]) == 2
    assert "--shown=0 must be at least 1" in capsys.readouterr().err


SCORES = {
    seed: {
        most: {
            "average": {"mAP": 50.0 + shift - int(most), "rank1": 60.0},
            "topt-e 10": {"mAP": 40.0 - int(most), "rank1": 50.0},
            "topt-e 50": {"mAP": 45.0 - 4 * int(most), "rank1": 50.0},
            "topt-te 100": {"mAP": 46.0 - 4 * int(most), "rank1": 50.0},
            "topt-te 20": {"mAP": 41.0 - int(most), "rank1": 50.0},
            "learned": {"mAP": 55.0, "rank1": 65.0 + shift},
        }
        for most in ("0", "3")
    }
    for seed, shift in (("0", 0.0), ("1", 2.0))
}


def test_the_table_is_means_and_deviations_over_seeds(table):
    lines = table.table(SCORES).splitlines()
    assert lines[0] == "| mAP, M_max | 0 | 3 |"
    assert lines[2] == "| average of normalised clips | 51.0 ± 1.4 | 48.0 ± 1.4 |"
    assert lines[3] == "| top-t at evaluation, t = 10 | 40.0 ± 0.0 (73.9) | 37.0 ± 0.0 (68.5) |"
    assert lines[5] == "| in training too, t = 20 | 41.0 ± 0.0 (74.7) | 38.0 ± 0.0 (74.1) |"
    assert lines[7] == "| learned | 55.0 ± 0.0 (75.9) | 55.0 ± 0.0 (75.2) |"
    assert lines[9] == "| rank-1, M_max | 0 | 3 |"
    assert lines[16] == "| learned | 66.0 ± 1.4 (82.7) | 66.0 ± 1.4 (81.5) |"


def test_the_curves_take_the_best_rate_at_every_corruption_and_both_rules(table):
    rows, selections = table.curves(json.loads(json.dumps(SCORES)))
    assert rows == {
        "average": {0: 51.0, 3: 48.0},
        "learned": {0: 55.0, 3: 55.0},
        "best topt-e": {0: 45.0, 3: 37.0},
        "best topt-te": {0: 46.0, 3: 38.0},
    }
    assert selections == {
        "at evaluation": {0: {10: 40.0, 50: 45.0}, 3: {10: 37.0, 50: 33.0}},
        "in training too": {0: {20: 41.0, 100: 46.0}, 3: {20: 38.0, 100: 34.0}},
    }


def test_curves_are_drawn_or_matplotlib_is_asked_for(table, tmp_path):
    rows, selections = table.curves(SCORES)
    if importlib.util.find_spec("matplotlib") is None:
        with pytest.raises(InputError, match=r"pip install 'vreid_jax\[viz\]'"):
            corruption_curves(rows, selections, tmp_path / "curves.png")
    else:
        corruption_curves(rows, selections, tmp_path / "curves.png")
        assert (tmp_path / "curves.png").stat().st_size > 10_000
