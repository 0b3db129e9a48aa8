"""Checkpoints: train state and position in the run, written together by Orbax; the only file that knows Orbax."""

import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from vreid_jax.errors import InputError
from vreid_jax.files import check_readable
from vreid_jax.training import digests
from vreid_jax.training.average import averaged
from vreid_jax.training.digests import named_leaves
from vreid_jax.training.position import Position

log = logging.getLogger(__name__)
T = TypeVar("T")

FOLDER = "checkpoints"
DAMAGED = ".damaged"  # how the names of checkpoints end that were set aside
VARIABLES = ("params", "batch_stats")


class Damaged(InputError):
    """A checkpoint cannot be read, or does not hold what was saved in it."""


class Checkpoints:
    """The checkpoints of one workdir, numbered by the steps of the whole run.

    A checkpoint appears under its name only when it is complete, so a run killed at any moment leaves the one before.
    It holds digests of all that is in it, which every reading checks.
    """

    def __init__(self, workdir: Path, keep: int, *, clean: bool = False):
        """Open the folder, which is made if it is not there.

        Args:
          workdir: of the run.
          keep: how many checkpoints stay.
          clean: remove what a killed process has left half written; only for the sole trainer of the workdir, which also
            calls `tidy_up`.

        Raises:
          InputError: when the system refuses.
        """
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, cleanup_tmp_directories=clean)
        self._manager = _open(workdir / FOLDER, options)
        self._keep = keep
        self._damaged: list[int] = []

    def latest(self) -> int | None:
        """Return the newest complete checkpoint, if there is one."""
        return self._manager.latest_step()

    def newest(self, read: Callable[[int], T]) -> T | None:
        """Return what `read` makes of the newest checkpoint that is not damaged; None where there is none at all.

        A damaged one is passed over with a warning, by all processes of a run together: `read` raises `Damaged`.

        Raises:
          InputError: when all are damaged; whatever else `read` raises.
        """
        found, self._damaged = _newest(self._manager, read, agree=True)
        return found

    def tidy_up(self) -> None:
        """Rename what `newest` has passed over to `N.damaged`, and remove what a killed process was removing.

        So step N can be saved again. Of what is damaged nothing is removed: a part of it may still be wanted.
        """
        self._set_damaged_aside()
        for step in sorted(self._manager.all_steps())[: -self._keep]:
            self._manager.delete(step)

    def _set_damaged_aside(self) -> None:
        if not self._damaged:
            return
        if jax.process_index() == 0:
            for step in self._damaged:
                folder = Path(self._manager.directory) / str(step)
                names = (f"{step}{DAMAGED}{number}" for number in ("", *range(2, 1000)))
                folder.rename(next(aside for name in names if not (aside := folder.with_name(name)).exists()))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints are set aside")
        self._manager.reload()
        self._damaged = []

    def check_room(self, state: Any) -> None:
        """Raise `InputError` where the disk has less room than one more checkpoint of a state takes, uncompressed."""
        needed = sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in named_leaves(state).values())
        free = shutil.disk_usage(self._manager.directory).free
        if free < needed:
            raise InputError(
                f"{self._manager.directory} has {free / 1e6:.1f} MB of free space, and a checkpoint takes "
                f"{needed / 1e6:.1f} MB: make room there, or use another workdir"
            )

    def save(self, step: int, state: Any, position: Position) -> None:
        """Write the state and where the run stands; returns before the disk has it all.

        Raises:
          OSError: when this checkpoint, or the one before, cannot be written; `wait` and `close` likewise.
        """
        if step == self.latest():
            return
        place = dataclasses.asdict(position)
        sums = {"place": digests.of_json(place), "state": digests.of_state(state)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), place=ocp.args.JsonSave(place), digests=ocp.args.JsonSave(sums)
        )
        with self._written():
            self._manager.save(step, args=items)

    def position(self, step: int) -> Position:
        """Read where in the run checkpoint `step` was written.

        Raises:
          InputError: for one of another version; `Damaged` for a damaged one.
        """
        try:
            return Position.read(_place(self._manager, step))
        except TypeError as error:  # it says more or less about a position than this version does
            raise InputError(
                f"checkpoint {step} of workdir {self._manager.directory.parent} was written by another version of "
                "vreid_jax; go on with that version, or train in another workdir with init_from naming this one"
            ) from error

    def restore(self, step: int, like: Any) -> Any:
        """Read the state of checkpoint `step` into the structure, shapes and shardings of `like`.

        Raises:
          InputError: when the checkpoint is of another model; both sides of the mismatch are listed.
          Damaged: when it is damaged.
        """
        _check_model(step, _stored(self._manager, step), like)
        return _restored(self._manager, step, like)

    def variables(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """Read `params` and `batch_stats` of checkpoint `step` as NumPy arrays of the shapes of `like`, averaged if kept.

        The rest of the state, of whatever phase, need not fit: this is what evaluation needs.

        Raises:
          InputError, Damaged: as for `restore`.
        """
        stored = _stored(self._manager, step)
        _check_model(
            step,
            {name: stored.get(name) or {} for name in VARIABLES},
            {name: like.get(name) or {} for name in VARIABLES},
        )
        return variables_of(_load(self._manager, step))

    def extra(self, step: int) -> dict[str, Any]:
        """Return as shapes what arrays checkpoint `step` holds as the state's `extra`; `prepare` may have made any."""
        extra = _stored(self._manager, step).get("extra") or {}
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), extra)

    def wait(self) -> None:
        """Return when everything is on disk."""
        with self._written():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and let go of the folder."""
        with self._written():
            self._manager.close()

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """Turn what Orbax raises where nothing can be written into one sentence; what is there stays."""
        try:
            yield
        except Exception as error:  # of any kind: a full disk is a ValueError of TensorStore
            raise OSError(
                f"cannot write a checkpoint to {self._manager.directory} ({_said(error)}); what was saved before is kept: "
                "make room there, and run the same command again"
            ) from error


def load_variables(workdir: Path) -> dict[str, Any]:
    """Read parameters and batch statistics of a workdir's newest checkpoint, as NumPy arrays; see `load_newest`."""
    return variables_of(load_state(workdir))


def load_state(workdir: Path) -> dict[str, Any]:
    """Read the whole train state of a workdir's newest checkpoint; see `load_newest`."""
    return load_newest(workdir)[2]


def load_newest(workdir: Path) -> tuple[int, Mapping[str, Any], dict[str, Any]]:
    """Read step, place and whole train state of a workdir's newest checkpoint, as nested dictionaries of NumPy arrays.

    The place is a `Position` as it was stored, perhaps by another version. A damaged one is passed over with a warning, if there is another.

    Raises:
      InputError: when the folder holds no checkpoint, or only damaged ones.
    """
    folder = Path(workdir) / FOLDER
    if not folder.is_dir():
        raise InputError(f"{workdir} holds no checkpoints")
    with _open(folder) as manager:
        found, _ = _newest(manager, lambda step: (step, _place(manager, step), _load(manager, step)))
    if found is None:
        raise InputError(f"{workdir} holds no complete checkpoint")
    return found


def newest_place(workdir: Path) -> Mapping[str, Any]:
    """Return where a workdir's newest checkpoint was saved, see `load_newest`; nothing where there is none."""
    if not (Path(workdir) / FOLDER).is_dir():
        return {}
    with _open(Path(workdir) / FOLDER) as manager:
        return _newest(manager, lambda step: _place(manager, step))[0] or {}


def variables_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of a stored state that evaluation takes."""
    return averaged(state["params"], state.get("batch_stats") or {}, state.get("extra") or {})


def _open(folder: Path, options: ocp.CheckpointManagerOptions | None = None) -> ocp.CheckpointManager:
    for entry in folder.rglob("*"):  # reading a pipe would wait for ever, reading a device need not end
        if entry.exists() and not (entry.is_file() or entry.is_dir()):
            raise InputError(f"{entry} is not a regular file but a pipe or a device: remove it")
    # The items are named ahead: Orbax could not say what a checkpoint holds before it saves, and would warn.
    handlers = {
        "state": ocp.StandardCheckpointHandler(),
        "place": ocp.JsonCheckpointHandler(),
        "digests": ocp.JsonCheckpointHandler(),
    }
    try:
        return ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers)
    except OSError as error:
        raise InputError(f"{folder} cannot be used: {error.strerror or error}") from error


def _newest(
    manager: ocp.CheckpointManager, read: Callable[[int], T], agree: bool = False
) -> tuple[T | None, list[int]]:
    """Return what `read` makes of the newest whole checkpoint, and the damaged ones behind it.

    With `agree`, one that a single process of a run cannot read is damaged for all of them.
    """
    errors: dict[int, InputError] = {}
    for step in sorted(manager.all_steps(), reverse=True):
        found = None
        try:
            found = read(step)
        except Damaged as error:
            errors[step] = error
        if agree and jax.process_count() > 1 and multihost_utils.process_allgather(np.bool_(step in errors)).any():
            errors.setdefault(step, Damaged(f"checkpoint {step} cannot be read by another process of this run"))
        if step not in errors:
            for error in errors.values():
                log.warning("%s; it is left out, and checkpoint %d is taken in its place", error, step)
            return found, list(errors)
    if errors:
        first = next(iter(errors.values()))
        others = ", and so is every other" if len(errors) > 1 else ", and there is no other"
        raise InputError(f"{first}{others}: put a copy of it back, or train in another workdir") from first
    return None, []


def _expected(manager: ocp.CheckpointManager, step: int) -> dict[str, Any] | None:
    """Return the digests that a checkpoint was saved with; None for one of before there were digests."""
    folder = Path(manager.directory) / str(step)
    if not (folder / "digests").exists():
        return None
    with _readable(manager, step):
        found = manager.restore(step, args=ocp.args.Composite(digests=ocp.args.JsonRestore()))["digests"]
        if not isinstance(found, dict) or not isinstance(found["state"], dict) or not isinstance(found["place"], str):
            raise ValueError("its digests are not as they were saved")
        return found


def _place(manager: ocp.CheckpointManager, step: int) -> Any:
    """Read where in the run a checkpoint was written, as it is stored."""
    expected = _expected(manager, step)
    with _readable(manager, step):
        stored = manager.restore(step, args=ocp.args.Composite(place=ocp.args.JsonRestore()))["place"]
        if expected and digests.of_json(stored) != expected["place"]:
            raise ValueError("its place in the run is not what was saved")
    return stored


def _stored(manager: ocp.CheckpointManager, step: int) -> Any:
    """Return the shapes and dtypes of the state of a checkpoint, which are those that were saved."""
    expected = _expected(manager, step)
    with _readable(manager, step):
        stored = manager.item_metadata(step)["state"]
        if stored is None:
            raise ValueError("it has no state")
        stored = getattr(stored, "tree", stored)
        found = {name: digests.kind(leaf) for name, leaf in named_leaves(stored).items()}
        if expected:
            _compare(found, {name: str(digest).rpartition(" ")[0] for name, digest in expected["state"].items()})
        return stored


def _restored(manager: ocp.CheckpointManager, step: int, like: Any) -> Any:
    """Read the state of a checkpoint into the structure of `like`, and check it by its digests."""
    expected = _expected(manager, step)
    with _readable(manager, step):
        state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))["state"]
    if expected:
        found = digests.of_state(state)
        with _readable(manager, step):
            _compare(found, expected["state"])
    return state


def _load(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """Read the state of a checkpoint, as it is stored, to the host."""
    host = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=host), _stored(manager, step))
    return jax.device_get(_restored(manager, step, like))


def _compare(found: Mapping[str, str], expected: Mapping[str, Any]) -> None:
    """Raise `ValueError`, naming an array, unless the digests are the same."""
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ValueError(f"{wrong[0]}{more} of {len(expected)} arrays are not what was saved")


@contextlib.contextmanager
def _readable(manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
    """Turn what is raised for files that are damaged or gone into one sentence."""
    try:
        yield
    except (InputError, MemoryError, jax.errors.JaxRuntimeError):  # the last: there is no room on the device
        raise
    except Exception as error:  # of any kind, plain `Exception` included
        folder = Path(manager.directory) / str(step)
        for file in sorted(folder.rglob("*")):  # a file that is not ours to read is not damaged
            if file.is_file():
                check_readable(file)
        if "Too many open files" in str(error):
            raise OSError(f"checkpoint {folder} cannot be read: {_said(error)}") from error
        raise Damaged(f"checkpoint {folder} is damaged ({_said(error)})") from error


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:90]} … {text[-100:]}"  # the reason may be the last of many


def _check_model(step: int, stored: Any, like: Any) -> None:
    """Raise `InputError`, listing both sides, unless two trees have the same names and shapes."""
    found, wanted = ({name: tuple(leaf.shape) for name, leaf in named_leaves(tree).items()} for tree in (stored, like))
    if found != wanted:
        raise InputError(f"checkpoint {step} is of another model: {_difference(found, wanted)}")


def _difference(found: dict, wanted: dict, most: int = 5) -> str:
    def some(names, table):
        names = sorted(names)
        rest = f" and {len(names) - most} more" if len(names) > most else ""
        return ", ".join(f"{name} {table[name]}" for name in names[:most]) + rest or "nothing"

    differing = {name for name in found if name in wanted and found[name] != wanted[name]}
    return (
        f"it has {some((found.keys() - wanted.keys()) | differing, found)}; "
        f"this configuration has {some((wanted.keys() - found.keys()) | differing, wanted)}"
    )
