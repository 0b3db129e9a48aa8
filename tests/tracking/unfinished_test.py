"""What a killed run of tracking has left: rows that its state does not know of are cut off, however often it is killed."""

from vreid_jax.tracking.association import Row
from vreid_jax.tracking.unfinished import Unfinished


def _rows(frames):
    return [Row(frame, 1, (0.0, 0.0, 10.0, 20.0), 0.5) for frame in frames]


def _killed(run: Unfinished):
    run.close()  # rows may have reached the disk behind the last state


def test_rows_behind_the_state_are_cut_off_even_when_nothing_is_appended_before_the_next_state(tmp_path):
    run = Unfinished(tmp_path)
    run.append(_rows(range(1, 11)))
    run.save(10, {})
    run.append(_rows(range(11, 21)))
    _killed(run)

    run = Unfinished(tmp_path)
    assert (run.frame, run.written) == (10, 10)
    run.save(11, {})  # nobody is certain in frame 11
    run.append(_rows(range(11, 31)))
    _killed(run)

    run = Unfinished(tmp_path)
    assert (run.frame, run.written) == (11, 10)
    run.append(_rows(range(11, 21)))
    run.finish(tmp_path / "tracks.txt")
    run.close()
    frames = [int(line.split(",")[0]) for line in (tmp_path / "tracks.txt").read_text().splitlines()]
    assert frames == list(range(1, 21))
