"""Time optical flow and its stacks in the pipeline: frames a second of one core.

    python benchmarks/optical_flow.py [--dataset=walkers/small] [--tracklets=40] [--rounds=3]

Three parts: computing and encoding the flow of a tracklet, decoding of frames included; reading a stack of ten stored
fields; and whole training batches of frames, of stacks and of both, by one thread. All of it twice: for the dataset, and
for a quarter of these tracklets enlarged to 256x128 and stored as JPEG pictures of quality 95. The best of the rounds
counts, in CPU time, which other work on the machine changes little. The flow of the dataset is computed first where it is
missing.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from vreid_jax import config, data
from vreid_jax.config.inputs import CHANNELS, FLOW_METHODS
from vreid_jax.config.phases import Phase
from vreid_jax.data.flow_files import encode_field
from vreid_jax.data.optical_flow import flow_fields
from vreid_jax.datasets import load_builder
from vreid_jax.experiment.flow import store_flow

BATCH, BATCHES = 64, 8
LARGE = (256, 128)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="walkers/small")
    parser.add_argument("--data-dir", help="where it is built")
    parser.add_argument("--tracklets", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    source = data.TrackletSource(load_builder(flags.dataset, flags.data_dir), "train", progress=True)
    rows = np.linspace(0, len(source) - 1, flags.tracklets).astype(int).tolist()
    print(f"{flags.dataset}, {flags.tracklets} tracklets, OpenCV {cv2.__version__}")
    measure(source, rows, flags.rounds)
    with tempfile.TemporaryDirectory() as folder:
        large = enlarged(source, rows[::4], Path(folder))
        measure(large, list(range(len(large))), flags.rounds)


def enlarged(source: data.TrackletSource, rows: list[int], folder: Path) -> data.TrackletSource:
    """Return tracklets at 256x128, as a dataset below `folder`."""
    for split in ("train", "query", "gallery"):
        for row in rows if split == "train" else rows[:1]:
            tracklet = folder / "people" / split / str(row + 1) / f"c1_{split}"
            tracklet.mkdir(parents=True)
            clip = data.resize(source.read(row, np.arange(source.num_frames[row])), *LARGE)
            for number, frame in enumerate(clip):
                cv2.imwrite(str(tracklet / f"{number}.jpg"), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    builder = load_builder("folder", folder, path=str(folder / "people"), progress=False)
    return data.TrackletSource(builder, "train")


def measure(source: data.TrackletSource, rows: list[int], rounds: int) -> None:
    """Print the rows of the table for these tracklets of a split; the batches are of all of them."""
    frames = [source.read(row, np.arange(source.num_frames[row])) for row in rows]
    height, width = frames[0].shape[1:3]
    print(f"{height}x{width}")
    for method in FLOW_METHODS:

        def compute(method: str = method) -> None:
            for row in rows:
                for field in flow_fields(source.read(row, np.arange(source.num_frames[row])), method):
                    encode_field(field)

        report(f"compute, {method}", sum(map(len, frames)), "frames", best(compute, rounds))
    store_flow(source, "dis", progress=True)

    def read_stacks() -> None:
        for row in rows:
            for number in range(0, int(source.num_frames[row]), 4):
                data.read_inputs(source, row, np.array([number]), "flow")

    stacks = sum(-(-int(source.num_frames[row]) // 4) for row in rows)
    report("read a stack", stacks, "stacks", best(read_stacks, rounds))
    phase = Phase.parse(
        config.phase(
            sampler="frames",
            batch_size=BATCH,
            clip={"kind": "random", "length": 1, "stride": 1},
            augment={"flip": 0.5, "enlarge_crop": 0.5},
            total_steps=1,
        )
    )
    for inputs in CHANNELS:

        def batches(inputs: str = inputs) -> None:
            for _ in data.train_batches(
                source, phase, size=(height, width), seed=0, num_batches=BATCHES, num_threads=1, inputs=inputs
            ):
                pass

        report(f"training batches, {inputs}", BATCH * BATCHES, "positions", best(batches, rounds))


def best(work, rounds: int) -> float:
    """Return the fewest CPU seconds that `work` took."""
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def report(what: str, count: int, unit: str, seconds: float) -> None:
    """Print a line of the table."""
    print(f"  {what:26}{count / seconds:9.0f} {unit}/s a core", flush=True)


if __name__ == "__main__":
    main()
