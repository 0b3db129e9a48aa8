"""Time training batches of 8 frames of 256x128 from walkers/bench against a plain loader of PIL processes.

    python benchmarks/input_pipeline.py [--threads=1,2,4,8] [--batches=40] [--rounds=3]
    python benchmarks/input_pipeline.py --frames=920 [--threads=1,2,4,8] [--batches=40] [--rounds=3]

Both decode the same JPEG frames of the same clips, crop them from a 9/8 enlargement and mirror them with the same random
draws, and deliver uint8 batches [32, 8, 256, 128, 3]. The plain loader is two processes that read files with PIL and
return through shared memory. A round measures all loaders in turn; the medians of the rounds are printed, with the
CPU time per clip, which other work on the machine hardly changes. Needs Pillow.

`--frames` takes 32 made-up tracklets of so many frames instead, for what a clip of a long one costs, without the plain
loader: all frames are one JPEG of 256x128 and 13 kB.
"""

import argparse
import contextlib
import multiprocessing
import os
import resource
import tempfile
import time
from multiprocessing import shared_memory
from pathlib import Path

import cv2
import numpy as np

from vreid_jax import config, data
from vreid_jax.config.phases import Phase
from vreid_jax.data.augment import ENLARGEMENT
from vreid_jax.data.loader import make_sampler
from vreid_jax.datasets import load_builder

SIZE, LENGTH, BATCH = (256, 128), 8, 32
SHAPE = (BATCH, LENGTH, *SIZE, 3)


def main() -> None:
    """Measure all loaders and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2,4,8", help="numbers of decoding threads")
    parser.add_argument("--processes", type=int, default=2, help="of the plain loader")
    parser.add_argument("--batches", type=int, default=40, help="measured in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--enlarge-crop", type=float, default=0.5, help="probability of a crop")
    parser.add_argument("--data-dir", help="where walkers/bench is built")
    parser.add_argument("--frames", type=int, default=0, help="of each of 32 made-up tracklets; 0: walkers/bench")
    flags = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if flags.frames:
            make_tracklets(folder / "pictures", flags.frames)
            builder = load_builder("folder", folder / "built", path=folder / "pictures")
        else:
            builder = load_builder("walkers/bench", flags.data_dir)
        source = data.TrackletSource(builder, "train", progress=True)
        compare(source, flags, folder, stack)


def compare(source, flags, folder: Path, stack: contextlib.ExitStack) -> None:
    """Measure the loaders on a split and print the table."""
    phase = Phase.parse(
        config.phase(
            batch_size=BATCH,
            clip={"kind": "consecutive", "length": LENGTH, "stride": 1},
            augment={"flip": 0.5, "enlarge_crop": flags.enlarge_crop},
            total_steps=1,
        )
    )
    loaders = {f"this package, {n} threads": Ours(source, phase, int(n)) for n in flags.threads.split(",")}
    if not flags.frames:
        plain = stack.enter_context(Plain(source, phase, flags.processes, folder))
        loaders[f"plain, {flags.processes} processes"] = plain
    rates = {name: [] for name in loaders}
    costs = {name: [] for name in loaders}
    for number in range(flags.rounds):
        for name, loader in loaders.items():
            seconds, cpu = timed(loader, flags.batches, seed=number)
            rates[name].append(flags.batches * BATCH / seconds)
            costs[name].append(1000 * cpu / (flags.batches * BATCH))
    last = list(loaders)[-1]
    print(
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; clips of {LENGTH} frames {SIZE[0]}x{SIZE[1]}, medians"
    )
    print(f"{'':28}{'clips/s':>9}{'CPU ms a clip':>15}{'times the last':>16}{'by CPU time':>13}")
    for name in loaders:
        ratio = np.median(np.array(rates[name]) / rates[last])
        by_cpu = np.median(costs[last]) / np.median(costs[name])
        print(f"{name:28}{np.median(rates[name]):9.0f}{np.median(costs[name]):15.2f}{ratio:16.2f}{by_cpu:13.2f}")
    print(f"largest resident size of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


def make_tracklets(root: Path, num_frames: int) -> None:
    """Write folders of pictures for the dataset `folder`: 32 people to train on, all frames links to one JPEG."""
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (256, 128, 3), np.uint8), (0, 0), 1.5)
    root.mkdir()
    cv2.imwrite(str(root / "one.jpg"), picture)
    for split, pids in (("train", range(1, BATCH + 1)), ("query", (99,)), ("gallery", (99,))):
        for pid in pids:
            folder = root / split / str(pid) / f"c{1 + (split == 'gallery')}_a"
            folder.mkdir(parents=True)
            for frame in range(num_frames if split == "train" else 2):
                os.link(root / "one.jpg", folder / f"{frame:05d}.jpg")


def timed(loader, num_batches: int, seed: int) -> tuple[float, float]:
    """Return wall and CPU seconds of `num_batches` batches, after one warm-up batch."""
    batches = loader.batches(num_batches + 1, seed)
    next(batches)
    started, cpu = time.perf_counter(), loader.cpu_seconds()
    for frames in batches:
        assert frames.shape == SHAPE
    return time.perf_counter() - started, loader.cpu_seconds() - cpu


class Ours:
    """The loader of this library."""

    def __init__(self, source, phase, num_threads: int):
        self.source, self.phase, self.num_threads = source, phase, num_threads

    def batches(self, count: int, seed: int):
        """Iterate over the frames of `count` batches."""
        for batch in data.train_batches(
            self.source, self.phase, size=SIZE, seed=seed, num_batches=count, num_threads=self.num_threads
        ):
            yield batch["frames"]

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of this process with all its threads."""
        return time.process_time()


class Plain:
    """Processes that open files with PIL and return each clip through its own slot in shared memory."""

    def __init__(self, source, phase, num_processes: int, folder: Path):
        self.source, self.phase, self.folder = source, phase, folder
        for row in range(len(source)):
            frames = source.encoded(row, np.arange(source.num_frames[row]))
            for number, frame in enumerate(frames):
                (folder / f"{row}_{number}.jpg").write_bytes(frame)
        self.memory = shared_memory.SharedMemory(create=True, size=2 * int(np.prod(SHAPE)))
        self.slots = np.ndarray((2, *SHAPE), np.uint8, self.memory.buf)
        self.pool = multiprocessing.get_context("spawn").Pool(num_processes, _attach, (self.memory.name,))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.pool.terminate()
        self.pool.join()
        del self.slots
        self.memory.close()
        self.memory.unlink()

    def batches(self, count: int, seed: int):
        """Iterate over the frames of `count` batches; one is copied out while the next is decoded."""
        sampler = make_sampler(self.source, self.phase, seed)
        pending = self.submit(sampler, 0, seed)
        for number in range(count):
            following = self.submit(sampler, number + 1, seed) if number + 1 < count else None
            pending.get()
            yield self.slots[number % 2].copy()
            pending = following

    def submit(self, sampler, number: int, seed: int):
        """Start decoding batch `number` into one of the two slots."""
        jobs = []
        for slot, row in enumerate(sampler.batch(number)):
            rng = np.random.default_rng((seed, 4, number, slot))
            numbers = data.sample_clip("consecutive", int(self.source.num_frames[row]), LENGTH, 1, rng)
            enlarged = rng.random() < self.phase.augment.enlarge_crop
            mirrored = rng.random() < self.phase.augment.flip
            tall, wide = (round(side * ENLARGEMENT) if enlarged else side for side in SIZE)
            corner = (rng.integers(tall - SIZE[0] + 1), rng.integers(wide - SIZE[1] + 1)) if enlarged else (0, 0)
            paths = [str(self.folder / f"{row}_{n}.jpg") for n in numbers]
            jobs.append((number % 2, slot, paths, (wide, tall), corner, mirrored))
        return self.pool.map_async(_load, jobs, chunksize=1)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of this process and of the pool."""
        ticks = 0
        for process in self.pool._pool:
            ticks += sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


_slots = None


def _attach(name: str) -> None:
    global _memory, _slots
    _memory = shared_memory.SharedMemory(name=name)
    _slots = np.ndarray((2, *SHAPE), np.uint8, _memory.buf)


def _load(job) -> None:
    from PIL import Image

    place, slot, paths, size, (top, left), mirrored = job
    for number, path in enumerate(paths):
        frame = Image.open(path).convert("RGB")
        if frame.size != size:
            frame = frame.resize(size, Image.Resampling.BILINEAR)
        if size != SIZE[::-1]:
            frame = frame.crop((left, top, left + SIZE[1], top + SIZE[0]))
        if mirrored:
            frame = frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        _slots[place, slot, number] = np.asarray(frame)


if __name__ == "__main__":
    main()
