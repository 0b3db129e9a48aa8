"""Archives made by Ray: this machine alone, two nodes of which one is killed, a process that ends, a killed driver."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vreid_jax import inference
from vreid_jax.archives.embedding import embed_archive
from vreid_jax.archives.engine import Machines, make_on_ray
from vreid_jax.archives.parts import ArchiveSettings
from vreid_jax.archives.work import Worker

ray = pytest.importorskip("ray", reason="needs Ray: python3 -m pip install 'vreid_jax[archive]'")
pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and files of its own processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

ROOT = Path(__file__).parents[2]
VIDEOS = 8
PATIENCE = 400  # seconds; Ray starts in ten on a quiet machine
STORE = 100 << 20  # bytes of an object store


@pytest.fixture(scope="module")
def model():
    return inference.load()


@pytest.fixture
def many(street, draw):
    """A manifest of eight videos of one track each."""
    lines = ["video,camera,start,tracks"]
    for number in range(VIDEOS):
        draw(street / f"v{number}.avi", 10 + number)
        lines.append(f"v{number}.avi,{number},2026-03-0{1 + number % 3}T09:00:00Z,south.txt")
    manifest = street / "many.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


@pytest.fixture
def undisturbed(model, many, tmp_path):
    """The files of an archive that one process made."""
    return made_here(model, many, tmp_path / "undisturbed")


def made_here(model, manifest, out):
    settings = ArchiveSettings()
    done = embed_archive(
        str(manifest), str(out), model, lambda parts, store: map(Worker(model, store, settings).make, parts), settings
    )
    assert not done.failed
    return files(out)


def on_ray(model, manifest, out, machines=None, **options):
    settings = ArchiveSettings()

    def make(parts, store):
        return make_on_ray(parts, model, store, settings, machines or Machines())

    return embed_archive(str(manifest), str(out), model, make, settings, **options)


def files(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in Path(out).rglob("*") if path.is_file()}


@pytest.fixture
def path_of_workers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # or a busy machine does everything else first


def hook(log, seconds):
    """Return what makes workers note when they begin a part, take their time, and end over one that is poisoned."""

    def prepare():
        import os
        import time

        import ray

        from vreid_jax.archives.work import Worker

        make = Worker.make

        def slowly(self, part):
            with open(log, "a") as file:
                file.write(f"{os.path.basename(part.video.address)} {ray.get_runtime_context().get_node_id()}\n")
            time.sleep(seconds)
            if "poison" in part.video.address:
                os._exit(1)
            return make(self, part)

        Worker.make = slowly

    return prepare


def begun(log):
    """Return (video, node) of every part that a worker has begun."""
    return [tuple(line.split()) for line in log.read_text().splitlines()] if log.exists() else []


@contextlib.contextmanager
def connected(**fields):
    ray.init(log_to_driver=False, logging_level="FATAL", **fields)
    try:
        yield
    finally:
        ray.shutdown()


def test_one_machine_makes_the_parts_that_one_process_makes(path_of_workers, model, many, undisturbed, tmp_path):
    done = on_ray(model, many, tmp_path / "archive", Machines(device="cpu"))
    assert (done.parts, done.tracklets, done.failed) == (VIDEOS, VIDEOS, ())
    assert not ray.is_initialized()
    assert files(tmp_path / "archive") == undisturbed


def test_a_cluster_that_loses_a_node_loses_and_doubles_no_row(path_of_workers, model, many, undisturbed, tmp_path):
    from ray.cluster_utils import Cluster

    log = tmp_path / "begun.txt"
    node = {"num_cpus": 1, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    killed = []
    try:
        second = cluster.add_node(**node)
        with connected(address=cluster.address, runtime_env={"worker_process_setup_hook": hook(str(log), 2.0)}):
            settings = ArchiveSettings()

            def make(parts, store):
                for number, done in enumerate(make_on_ray(parts, model, store, settings, Machines(device="cpu"))):
                    if not killed and number >= 1:
                        deadline = time.monotonic() + PATIENCE
                        while second.node_id not in {node for _, node in begun(log)}:
                            assert time.monotonic() < deadline, "the second node has begun nothing"
                            time.sleep(0.1)
                        killed.append(begun(log))
                        cluster.remove_node(second, allow_graceful=False)
                    yield done

            done = embed_archive(str(many), str(tmp_path / "archive"), model, make, settings)
    finally:
        cluster.shutdown()
    assert killed, "the run was over before a node was killed"
    assert (done.parts, done.tracklets, done.failed) == (VIDEOS, VIDEOS, ())
    assert files(tmp_path / "archive") == undisturbed
    videos = [video for video, _ in begun(log)]
    assert len(videos) > len(set(videos)) == VIDEOS, "nothing was under way on the node that was killed"


def test_a_video_that_ends_its_process_is_set_aside_alone(path_of_workers, model, many, undisturbed, draw, tmp_path):
    log = tmp_path / "begun.txt"
    draw(many.with_name("poison.avi"), 99)
    lines = many.read_text().splitlines()
    many.write_text("\n".join([lines[0], "poison.avi,9,0,south.txt", *lines[1:]]) + "\n")
    environment = {"worker_process_setup_hook": hook(str(log), 0.0)}
    with connected(num_cpus=2, include_dashboard=False, object_store_memory=STORE, runtime_env=environment):
        done = on_ray(model, many, tmp_path / "archive")
    assert (done.parts, done.tracklets) == (VIDEOS, VIDEOS)
    (failed,) = done.failed
    assert failed["video"].endswith("poison.avi")
    assert failed["why"] == "the process that worked on it ended, 3 times"
    assert [video for video, _ in begun(log)].count("poison.avi") == 3
    kept = {name: content for name, content in files(tmp_path / "archive").items() if not name.startswith("_failed/")}
    assert kept == undisturbed


def test_a_driver_that_is_killed_is_gone_on_with(path_of_workers, many, tmp_path):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "archive"
    command = [sys.executable, "-m", "vreid_jax.cli.command", "archive", "embed", str(many), "--device=cpu", "--quiet"]
    done = subprocess.run([*command, f"--out={undisturbed}"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    first = subprocess.Popen([*command, f"--out={out}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while not list(out.glob("camera=*/*/*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert len(list(out.glob("camera=*/*/*.parquet"))) < VIDEOS
    time.sleep(3)  # Ray's processes see that it is gone
    done = subprocess.run([*command, f"--out={out}", "--json"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert files(out) == files(undisturbed)


def test_sigterm_ends_a_run_in_one_line(path_of_workers, many, tmp_path):
    out = tmp_path / "archive"
    command = [sys.executable, "-m", "vreid_jax.cli.command", "archive", "embed", str(many), "--device=cpu", "--quiet"]
    run = subprocess.Popen([*command, f"--out={out}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + PATIENCE
    while not list(out.glob("camera=*/*/*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.terminate()
    said = run.communicate(timeout=PATIENCE)[0].splitlines()
    assert run.returncode == 128 + signal.SIGTERM  # Ray tells of both signals as of Ctrl-C
    assert said[-1] == "vreid archive embed: interrupted; what is finished stays, run the same command again to go on"
    assert not any("Traceback" in line or "SIGTERM" in line for line in said)  # Ray's own


def test_a_worker_that_cannot_start_ends_the_run(path_of_workers, model, many, tmp_path, monkeypatch):
    model = dataclasses.replace(model)  # one that has not noted its fingerprint yet
    monkeypatch.setattr(type(model), "fingerprint", "0" * 16)  # of the driver alone
    with pytest.raises(RuntimeError, match=r"no worker can start: RuntimeError: vreid_jax .* makes another model of"):
        on_ray(model, many, tmp_path / "archive", Machines(device="cpu", workers=1))
