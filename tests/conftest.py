"""What every test runs under: strict shapes, strict promotion, four virtual CPU devices, no network and no GPU.

Besides, the fixtures that several test files share: the smallest dataset, built once, and a configuration that trains
on it in a second.
"""

import atexit
import contextlib
import gc
import os
import shutil
import sys
import tempfile

import jaxlib.version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Machine code that is not optimised is there in a third of the time. Up to jaxlib 0.10 the fusion emitters of XLA's CPU
# compiler take most of what is left, and the emitters before them compute the same; later versions refuse that flag.
# `xla_as_users_have_it` brings both back where the compiler is the subject, and .ci/full runs every test with them.
SLOW_EMITTERS = jaxlib.version.__version_info__ < (0, 11)
if "XLA_FLAGS" not in os.environ:
    flags = ["--xla_force_host_platform_device_count=4", "--xla_backend_optimization_level=0"]
    flags += ["--xla_cpu_use_fusion_emitters=false"] * SLOW_EMITTERS
    os.environ["XLA_FLAGS"] = " ".join(flags)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # What one worker or one run in a process of its own has compiled, however small, serves all others.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="vreid_jax-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# Bytecode is kept, for the other workers, the processes that tests start and the next run.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

from jaxtyping import install_import_hook

install_import_hook("vreid_jax", "beartype.beartype").__enter__()

import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.extend.random import define_prng_impl

jax.config.update("jax_numpy_rank_promotion", "raise")
TOY_FILE = Path(__file__).with_name("toy_config.py")


def pytest_collection_finish():
    """Let no collection of garbage look again through the modules and tests that stay: it takes most of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def xla_as_users_have_it():
    """Compiler options that undo what `XLA_FLAGS` above change, for tests of what XLA makes of a program."""
    return {"xla_backend_optimization_level": 3} | ({"xla_cpu_use_fusion_emitters": True} if SLOW_EMITTERS else {})


def _hash(x):
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _bits(key, width, shape):
    counter = jax.lax.iota(jnp.uint32, math.prod(shape)) * jnp.uint32(0x9E3779B9)
    return _hash(counter + _hash(key[0])).reshape(shape).astype(f"uint{width}")


# Threefry's twenty rounds, unrolled for every tensor, are most of what there is to compile in an initialisation.
HASH = define_prng_impl(
    name="hash",
    key_shape=(1,),
    seed=lambda number: _hash(jnp.asarray(number).astype(jnp.uint32)).reshape(1),
    split=lambda key, shape: _bits(key, 32, shape)[..., None],
    random_bits=_bits,
    fold_in=lambda key, number: _hash(key + jnp.uint32(0x9E3779B9) * (number.astype(jnp.uint32) + 1)),
)


@pytest.fixture(scope="session")
def initialised():
    """`make(module, clips)` is what the module's initialisers draw; one module is initialised once in a process."""
    made = {}

    def make(module, clips):
        known = (module, clips.shape, str(clips.dtype))
        if known not in made:
            clip = jax.ShapeDtypeStruct(clips.shape, clips.dtype)
            draw = jax.jit(
                lambda: dict(module.lazy_init(jax.random.key(0, impl=HASH), clip)),
                compiler_options={"xla_backend_optimization_level": 0},
            )
            made[known] = draw()
        return jax.tree.map(lambda leaf: leaf, made[known])  # dictionaries of its own for every test

    return make


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """A folder of datasets with `walkers/tiny` in it."""
    from vreid_jax import datasets

    folder = tmp_path_factory.mktemp("tensorflow_datasets")
    datasets.load_builder("walkers/tiny", data_dir=folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def tiny_builder(data_dir):
    from vreid_jax import datasets

    return datasets.load_builder("walkers/tiny", data_dir=data_dir, progress=False)


@pytest.fixture(scope="session")
def toy_system():
    """The module of the toy's configuration file, and a context in which its model is registered."""
    from vreid_jax.models import registry

    spec = importlib.util.spec_from_file_location("toy_config", TOY_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entry = registry._ENTRIES.pop("toy")

    @contextlib.contextmanager
    def registered():
        before = registry._ENTRIES.get("toy")
        registry._ENTRIES["toy"] = entry
        try:
            yield
        finally:
            registry._ENTRIES.pop("toy")
            if before:
                registry._ENTRIES["toy"] = before

    return module, registered


@pytest.fixture(scope="module")
def toy_module(toy_system):
    """The module of the toy's configuration file; its model is registered while a test file that asks for it runs."""
    module, registered = toy_system
    with registered():
        yield module


@pytest.fixture(scope="module")
def toy_file(toy_module):
    """The configuration file of the toy system, for `--config`."""
    return TOY_FILE


@pytest.fixture
def toy(toy_module, data_dir):
    """A fresh configuration of the toy system on `walkers/tiny`."""
    config = toy_module.get_config("walkers")
    config.data.data_dir = str(data_dir)
    return config


@pytest.fixture(scope="session")
def untrained():
    """`make(config, **fields)` is a model of a configuration with random weights and statistics; no run is needed."""
    import jax.numpy as jnp
    import numpy as np

    from vreid_jax import inference, models

    def make(config, **changes):
        own = {key: value for key, value in config.model.to_dict().items() if key != "name"} | changes
        entry = models.entry(config.model.name)
        length = max(stream.clip.length for stream in config.evaluation.streams.values())
        module = models.create(config.model.name, **own, num_classes=3)
        size = (config.data.height, config.data.width, models.channels_of(module))
        clips = jax.ShapeDtypeStruct((1, length, *size), jnp.float32)
        shapes = dict(jax.eval_shape(module.init, jax.random.key(0), clips))
        rng = np.random.default_rng(0)
        drawn = jax.tree.map(lambda x: rng.uniform(0.05, 0.3, x.shape).astype(np.float32), shapes)
        variables = {"batch_stats": {}, **{key: drawn[key] for key in ("params", "batch_stats") if key in drawn}}
        return inference.Model(config.model.name, own, config, variables, entry.mean, entry.std, {"licence": "MIT"})

    return make


@pytest.fixture(scope="session")
def finished_run(toy_system, data_dir, tmp_path_factory):
    """The toy system trained for 4 + 4 steps and evaluated, once in a session: workdir, configuration, results."""
    from vreid_jax import experiment

    module, registered = toy_system
    config = module.get_config("walkers")
    config.data.data_dir = str(data_dir)
    workdir = tmp_path_factory.mktemp("finished") / "run"
    with registered():
        found = experiment.train_and_evaluate(config, workdir)
    return workdir, config, found


@pytest.fixture(scope="module")
def finished(toy_module, finished_run):
    """A finished run and its registered model; tests look at the workdir and change copies of it only."""
    return finished_run


@pytest.fixture(scope="session")
def walkers_video(tiny_builder):
    """`make(video, tracks)` writes a video and its MOTChallenge tracks: four walkers, 11 to 14, come by again, 15 to 18."""
    import cv2
    import numpy as np

    from vreid_jax.datasets.walkers.scene import draw_tracklet

    plan = tiny_builder.plan
    seen = {}
    for tracklet in plan.test:
        if tracklet.pid > 0 and not (tracklet.occluded or tracklet.crossed or tracklet.lost):
            seen.setdefault(tracklet.pid, []).append(tracklet)
    pairs = [tracklets[:2] for tracklets in seen.values() if len(tracklets) > 1][:4]
    people = [pair[time] for time in (0, 1) for pair in pairs]
    walks = [[frame for _ in range(24) for frame in draw_tracklet(plan, person)][:24] for person in people]

    def make(video: Path, tracks: Path) -> None:
        file = video.with_suffix(".avi")
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, (352, 240))
        lines = []
        for number in range(1, 49):
            picture = np.full((240, 352, 3), 140, np.uint8)
            for place, walk in enumerate(walks):
                step = number - 1 - 24 * (place // 4)
                if 0 <= step < 24:
                    left, top = 8 + 80 * (place % 4) + step, 40
                    picture[top : top + 128, left : left + 64] = cv2.resize(walk[step], (64, 128))[..., ::-1]
                    lines.append(f"{number},{11 + place},{left},{top},64,128,1,-1,-1,-1")
            writer.write(picture)
        writer.release()
        file.replace(video)
        tracks.write_text("\n".join(lines) + "\n")

    return make


@pytest.fixture(scope="session")
def write_folder():
    """Writes a dataset `folder`: two cameras for every identity, three frames a tracklet, a colour a person."""
    import cv2
    import numpy as np

    def write(root, pids=range(1, 9), gallery_pids=(11, 12, 13)):
        parts = [("train", pid, camid) for pid in pids for camid in (1, 2)]
        parts += [("query", pid, 1) for pid in (11, 12, 13)] + [("gallery", pid, 2) for pid in gallery_pids]
        for split, pid, camid in parts:
            tracklet = root / split / str(pid) / f"c{camid}_walk"
            tracklet.mkdir(parents=True)
            for number in range(3):
                picture = np.random.default_rng((pid, camid, number)).integers(0, 60, (32, 16, 3), dtype=np.uint8)
                picture[:, :, pid % 3] += np.uint8(10 * pid)
                cv2.imwrite(str(tracklet / f"{number}.png"), picture)
        return root

    return write


@pytest.fixture(scope="session")
def tree():
    """Gives every file below a folder and its content."""

    def read(folder):
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    return read


@pytest.fixture(scope="session")
def golden():
    """The module that reads parity vectors and fills the networks they are of."""
    spec = importlib.util.spec_from_file_location(
        "golden_state", Path(__file__).with_name("golden") / "golden_state.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small_mars():
    """`make(root)` writes the files of MARS: eight people, each in two cameras, sixteen tracklets in all of either half."""
    import cv2
    import numpy as np
    from scipy.io import savemat

    def make(root: Path) -> None:
        rng = np.random.default_rng(0)
        (root / "info").mkdir(parents=True)
        for split, pids in (("train", (1, 2, 3, 4)), ("test", (5, 6, 7, 8))):
            names, rows = [], []
            for pid in pids:
                for camid, number in ((1, 1), (1, 2), (2, 1), (2, 2)):
                    rows.append([len(names) + 1, len(names) + 10, pid, camid])
                    names += [f"{pid:04d}C{camid}T{number:04d}F{frame:03d}.jpg" for frame in range(1, 11)]
            for name in names:
                picture = root / f"bbox_{split}" / name[:4] / name
                picture.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(picture), rng.integers(0, 255, (32, 16, 3), np.uint8))
            (root / "info" / f"{split}_name.txt").write_text("\n".join(names) + "\n")
            savemat(root / "info" / f"tracks_{split}_info.mat", {f"track_{split}_info": np.array(rows, np.int32)})
        savemat(root / "info" / "query_IDX.mat", {"query_IDX": np.arange(1, 17, 2, dtype=np.uint16)[None]})

    return make


@pytest.fixture
def vreid(capsys):
    """Run the command in this process; return its exit code and what it printed on the two streams."""

    from vreid_jax.cli import command

    def run(*arguments):
        code = command.main(list(map(str, arguments)))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def walking_block(tmp_path, monkeypatch):
    """A video of ten frames of a bright block that walks to the right, and a detector that finds it in place of hog."""
    import cv2
    import numpy as np

    from vreid_jax.tracking import detectors

    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (64, 48))
    for left in range(2, 32, 3):
        writer.write(cv2.rectangle(np.zeros((48, 64, 3), np.uint8), (left, 10, 12, 24), (255,) * 3, cv2.FILLED))
    writer.release()

    def bright(frame):
        return np.array([cv2.boundingRect(np.uint8(frame[..., 0] > 128))]), np.array([0.9])

    monkeypatch.setitem(detectors._MAKERS, "hog", lambda _: bright)
    return path


@pytest.fixture(scope="session")
def write_made_gallery():
    """`write(path, camera=1, day=1, …)` writes a gallery of three made-up tracklets of one video."""
    import numpy as np

    from vreid_jax.search.gallery import make_table, pyarrow

    def write(path, camera=1, day=1, rows=3, dimensions=4, vectors=None, names=None, folder="", group=2, **about):
        path.parent.mkdir(parents=True, exist_ok=True)
        if vectors is None:
            vectors = np.random.default_rng((camera, day)).normal(size=(rows, dimensions)).astype(np.float32)
        rows = len(vectors)
        start = 10.0 * np.arange(rows)
        columns = {
            "tracklet_id": names or [f"track{row}" for row in range(rows)],
            "camid": [camera] * rows,
            **{name: [0] * rows for name in ("pid", "num_frames", "first_frame", "last_frame")},
            **{name: [""] * rows for name in ("split", "model")},
            "folder": [f"{folder}/track{row}" if folder else "" for row in range(rows)],
            "start_seconds": start.tolist(),
            "end_seconds": (start + 5).tolist(),
        }
        stated = {"fingerprint": "f00d", "model": "toy", "metric": "euclidean", "open_set": None}
        stated |= {"input": f"/cameras/{camera}.mp4"}
        stated |= {"recorded_at": f"2026-03-{day:02d}T{7 + camera:02d}:00:00+00:00"} | about
        pyarrow().parquet.write_table(
            make_table(vectors, columns, stated), path, row_group_size=group, write_page_checksum=True
        )
        return path

    return write


@pytest.fixture
def made_folder(write_made_gallery, tmp_path):
    """`make()` is a folder of four galleries, two cameras of two days."""

    def make(**about):
        for camera in (1, 2):
            for day in (1, 2):
                write_made_gallery(
                    tmp_path / "town" / f"camera={camera}" / f"date=2026-03-0{day}" / "a.parquet", camera, day, **about
                )
        return tmp_path / "town"

    return make
