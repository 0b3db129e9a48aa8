"""Tracklets of 920 frames, the longest of MARS: what a clip of 8 of them costs."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid_jax.config import phase
from vreid_jax.config.phases import Phase
from vreid_jax.data import TrackletSource, train_batches
from vreid_jax.data import source as source_module
from vreid_jax.datasets import load_builder

LONGEST = 920


@pytest.fixture(scope="module")
def tracklets(tmp_path_factory) -> Path:
    """Four people in two cameras; all frames are one JPEG of 256x128 and 20 kB, linked under every name."""
    root = tmp_path_factory.mktemp("long")
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (256, 128, 3), np.uint8), (0, 0), 0.8)
    cv2.imwrite(str(root / "one.jpg"), picture)
    for split, pids in (("train", (1, 2)), ("query", (3,)), ("gallery", (3,))):
        for pid in pids:
            folder = root / split / f"{pid}" / f"c{1 + (split == 'gallery')}_a"
            folder.mkdir(parents=True)
            for frame in range(LONGEST if split == "train" else 2):
                os.link(root / "one.jpg", folder / f"{frame:04d}.jpg")
    load_builder("folder", root / "built", progress=False, path=root)
    return root


def _phase(batch_size):
    clip = {"kind": "consecutive", "length": 8, "stride": 1}
    return Phase.parse(phase(batch_size=batch_size, clip=clip, total_steps=1))


def test_a_clip_costs_the_decoding_of_its_own_frames(tracklets, monkeypatch):
    calls, decode = [], cv2.imdecode
    monkeypatch.setattr(source_module.cv2, "imdecode", lambda data, flags: calls.append(1) or decode(data, flags))
    source = TrackletSource(load_builder("folder", tracklets / "built", progress=False, path=tracklets), "train")
    assert source.num_frames.tolist() == [LONGEST, LONGEST]
    batches = train_batches(source, _phase(2), size=(256, 128), seed=0, num_batches=3, num_threads=2)
    assert sum(len(batch["frames"]) for batch in batches) == 6
    assert len(calls) == 6 * 8


@pytest.mark.slow
# `ru_maxrss` of a child begins with what its parent held when it was started, so it cannot serve here.
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_the_pipeline_holds_less_than_a_gigabyte_and_a_half_at_that_length(tracklets):
    code = textwrap.dedent(f"""
        import re
        from pathlib import Path

        from vreid_jax.config import evaluation_stream, phase
        from vreid_jax.config.phases import Phase
        from vreid_jax.config.run import Stream
        from vreid_jax.data import TrackletSource, evaluation_items, train_batches
        from vreid_jax.datasets import load_builder

        builder = load_builder("folder", {str(tracklets / "built")!r}, progress=False, path={str(tracklets)!r})
        source = TrackletSource(builder, "train")
        clip = {{"kind": "consecutive", "length": 8, "stride": 1}}
        settings = Phase.parse(phase(batch_size=2, clip=clip, total_steps=40))
        for batch in train_batches(source, settings, size=(256, 128), seed=0, num_batches=40, num_threads=8):
            assert batch["frames"].shape == (2, 8, 256, 128, 3)
        clip = Stream.parse(evaluation_stream("all", 8, {{}}), "stream").clip
        clips = sum(len(part) for _, part in evaluation_items(source, clip, size=(256, 128), num_threads=8))
        assert clips == 2 * {LONGEST // 8}
        print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
    """)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) / 2**20 < 1.5
    print(f"{int(done.stdout.split()[-1]) / 2**20:.2f} GB")
