"""Ray: the work on parts spread over the cores or devices of one machine, or over the machines of a cluster.

Of Ray only its actors are used. `ray.data.map_batches` hands tasks to an actor ahead of time and cannot tell which of
them ended its process, so that a video that does takes others with it; here an actor has one part at a time.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

import vreid_jax
from vreid_jax.archives.parts import ArchiveSettings, Part
from vreid_jax.archives.store import Store
from vreid_jax.archives.work import Done, Worker, fail
from vreid_jax.datasets.processes import cores
from vreid_jax.errors import InputError, Interrupted
from vreid_jax.inference import Model
from vreid_jax.runtime import setup_process

TRIES = 3  # processes that may end over a part before it is set aside
DEVICES = {"cpu": "CPU", "gpu": "GPU", "tpu": "TPU"}  # with the names of Ray's resources
_STORE_BYTES = 512 << 20  # of Ray's object store on one machine: it holds the model once, and outcomes of a line
_POLL = 1.0  # seconds after which machines that have come or gone are looked for


@dataclasses.dataclass(frozen=True)
class Machines:
    """Where parts are made.

    Attributes:
      address: of a Ray cluster, `HOST:6379` or `auto`; empty: this machine alone, without a cluster.
      device: `cpu`, `gpu` or `tpu`; empty: the best that there is.
      workers: how many parts are made at once, at most; 0: one a device, and on CPUs one a core.
    """

    address: str = ""
    device: str = ""
    workers: int = 0

    def __post_init__(self):
        """Raise `InputError` for what cannot be."""
        if self.device and self.device not in DEVICES:
            raise InputError(f"--device={self.device} must be one of {', '.join(DEVICES)}")
        if self.workers < 0:
            raise InputError(f"--workers={self.workers} must not be negative")


def make_on_ray(
    parts: Sequence[Part], model: Model, store: Store, settings: ArchiveSettings, machines: Machines
) -> Iterator[Done]:
    """Yield what became of each part, in the order in which they are done.

    A part whose process or machine is lost is made again by another one; the third time it is set aside. Machines that
    come to the cluster are used, too.

    Raises:
      InputError: when there is no Ray, no such cluster or device, or the archive cannot be written.
      RuntimeError: when no worker can start.
    """
    with _connected(machines.address) as ray:
        device = _device(ray, machines)
        plain = dataclasses.replace(model, variables=jax.tree.map(np.asarray, dict(model.variables)))
        arguments = (ray.put(plain), model.fingerprint, store, settings, device)
        actor = ray.remote(_Actor).options(max_restarts=0, max_task_retries=0, **_resources(device))

        def wanted() -> int:
            return machines.workers or int(ray.cluster_resources().get(DEVICES[device], 0))

        for part, done in _spread(ray, lambda: actor.remote(*arguments), wanted, parts):
            why = f"the process that worked on it ended, {TRIES} times"
            yield done or fail(store, part, why, settings)


def installed():
    """Return the module `ray`; `InputError` where it is not installed."""
    try:
        with _own_sigterm():
            import ray
    except ImportError as error:
        raise InputError("archives are embedded with Ray: python3 -m pip install 'vreid_jax[archive]'") from error
    return ray


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray would take it for a crash."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


class _Actor:
    """A worker in a process of its own."""

    def __init__(self, model: Model, fingerprint: str, store: Store, settings: ArchiveSettings, device: str):
        import cv2

        if device == "cpu":
            jax.config.update("jax_platforms", "cpu")
            os.environ.setdefault("NPROC", "1")  # XLA's threads: there is a worker for each core

        setup_process()
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "8")
        cv2.setNumThreads(1)
        if model.fingerprint != fingerprint:
            raise RuntimeError(f"vreid_jax {vreid_jax.__version__} on this machine makes another model of {model.name}")
        self._worker = Worker(model, store, settings)

    def ready(self) -> None:
        """Return when the worker can work."""

    def make(self, part: Part) -> Done:
        """Make a part."""
        try:
            return self._worker.make(part)
        except Interrupted:
            os._exit(1)  # its machine is taken away: for the driver it is lost, and another one makes the part


def _spread(
    ray: Any, start: Callable[[], Any], wanted: Callable[[], int], parts: Sequence[Part]
) -> Iterator[tuple[Part, Done | None]]:
    """Yield each part with what became of it, None for one that has ended `TRIES` processes.

    Args:
      ray: the module.
      start: starts an actor.
      wanted: how many actors there may be now.
      parts: what to do.
    """
    waiting, lost = collections.deque(parts), collections.Counter()
    running: dict[Any, tuple[Any, Part | None]] = {}  # by the reference of a call; without a part: it starts
    idle: list[Any] = []
    stillborn = 0  # actors in a row that ended before they were ready
    while waiting or any(part for _, part in running.values()):
        while idle and waiting:
            actor, part = idle.pop(), waiting.popleft()
            running[actor.make.remote(part)] = (actor, part)
        busy = sum(part is not None for _, part in running.values())
        if len(running) + len(idle) < min(wanted(), busy + len(waiting)):
            actor = start()
            running[actor.ready.remote()] = (actor, None)
            continue
        if not running:
            time.sleep(_POLL)  # for machines that are to come
            continue
        finished, _ = ray.wait(list(running), timeout=_POLL)
        for call in finished:
            actor, part = running.pop(call)
            try:
                done = ray.get(call)
            except ray.exceptions.RayTaskError as error:
                raise _cause(error) from None
            except ray.exceptions.RayError as error:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.kill(actor)
                if part is None:
                    stillborn += 1
                    if stillborn == TRIES:
                        raise RuntimeError(f"no worker can start: {_last_line(error)}") from None
                    continue
                lost[part] += 1
                if lost[part] == TRIES:
                    yield part, None
                else:
                    waiting.append(part)  # behind the others: what ends processes does so when the rest is done
                continue
            idle.append(actor)
            if part is None:
                stillborn = 0
            else:
                yield part, done


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Yield the module `ray`, connected; a connection that the caller has made is used and stays."""
    ray = installed()
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    alone = {
        "address": "local",  # whatever cluster runs here beside it
        "num_cpus": cores(),
        "object_store_memory": _STORE_BYTES,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        with _own_sigterm(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX's; Ray executes a program at once
            ray.init(**({"address": address} if address else alone), **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        what = f"no Ray cluster answers at --address={address}" if address else "Ray does not start"
        raise InputError(f"{what}: {_last_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _device(ray: Any, machines: Machines) -> str:
    """Return the kind of device that workers compute on."""
    there = [name for name in ("tpu", "gpu", "cpu") if ray.cluster_resources().get(DEVICES[name], 0) >= 1]
    device = machines.device or (there[0] if there else "cpu")
    if device not in there and not machines.workers:
        raise InputError(
            f"Ray knows of no {DEVICES[device]} here: name another --device, or how many --workers to wait for"
        )
    return device


def _resources(device: str) -> dict[str, Any]:
    return {
        "cpu": {"num_cpus": 1},
        "gpu": {"num_cpus": 1, "num_gpus": 1},
        "tpu": {"num_cpus": 1, "resources": {"TPU": 1}},
    }[device]


def _cause(error: Any) -> Exception:
    """Return what a worker raised: of its own errors, only that the archive cannot be written."""
    cause = error.cause
    return InputError(str(cause)) if isinstance(cause, InputError) else RuntimeError(_last_line(cause))


def _last_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
