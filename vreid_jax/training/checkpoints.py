"""Checkpoints: train state and position in the run, written together by Orbax; the only file that knows Orbax."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vreid_jax.errors import InputError
from vreid_jax.training.average import averaged
from vreid_jax.training.position import Position

VARIABLES = ("params", "batch_stats")


class Checkpoints:
    """The checkpoints of one workdir, numbered by the steps of the whole run.

    A checkpoint appears under its name only when it is complete, so a run killed at any moment leaves the one before.
    """

    def __init__(self, workdir: Path, keep: int):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        # Named beforehand: a manager that has not saved yet could not say what a checkpoint holds.
        self._manager = ocp.CheckpointManager(
            (workdir / "checkpoints").absolute(), options=options, item_handlers=_handlers()
        )

    def latest(self) -> int | None:
        """Return the newest complete checkpoint, if there is one."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, position: Position) -> None:
        """Write the state and where the run stands; returns before the disk has it all."""
        if step != self.latest():
            items = ocp.args.Composite(
                state=ocp.args.StandardSave(state), place=ocp.args.JsonSave(dataclasses.asdict(position))
            )
            self._manager.save(step, args=items)

    def position(self, step: int) -> Position:
        """Read where in the run checkpoint `step` was written; `InputError` for one of another version."""
        with _readable(self._manager, step):
            stored = self._manager.restore(step, args=ocp.args.Composite(place=ocp.args.JsonRestore()))["place"]
        try:
            return Position.read(stored)
        except TypeError as error:  # it says more or less about a position than this version does
            raise InputError(
                f"checkpoint {step} of workdir {self._manager.directory.parent} was written by another version of "
                "vreid_jax; go on with that version, or train in another workdir with init_from naming this one"
            ) from error

    def restore(self, step: int, like: Any) -> Any:
        """Read the state of checkpoint `step` into the structure, shapes and shardings of `like`.

        Raises:
          InputError: when the checkpoint is of another model; both sides of the mismatch are listed; or is damaged.
        """
        _check_model(step, _stored(self._manager, step), like)
        with _readable(self._manager, step):
            return self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))["state"]

    def variables(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """Read `params` and `batch_stats` of checkpoint `step` as NumPy arrays of the shapes of `like`, averaged if kept.

        The rest of the state, of whatever phase, need not fit: this is what evaluation needs.

        Raises:
          InputError: as for `restore`.
        """
        stored = _stored(self._manager, step)
        _check_model(
            step,
            {name: stored.get(name) or {} for name in VARIABLES},
            {name: like.get(name) or {} for name in VARIABLES},
        )
        return _variables(_load(self._manager, step))

    def extra(self, step: int) -> dict[str, Any]:
        """Return as shapes what arrays checkpoint `step` holds as the state's `extra`; `prepare` may have made any."""
        extra = _stored(self._manager, step).get("extra") or {}
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), extra)

    def wait(self) -> None:
        """Return when everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and let go of the folder."""
        self._manager.close()


def load_variables(workdir: Path) -> dict[str, Any]:
    """Read parameters and batch statistics of a workdir's newest checkpoint, as NumPy arrays; see `load_state`."""
    return _variables(load_state(workdir))


def load_state(workdir: Path) -> dict[str, Any]:
    """Read the whole train state of a workdir's newest checkpoint, as nested dictionaries of NumPy arrays.

    Raises:
      InputError: when the folder holds no checkpoint, or a damaged one.
    """
    folder = Path(workdir) / "checkpoints"
    if not folder.is_dir():
        raise InputError(f"{workdir} holds no checkpoints")
    with ocp.CheckpointManager(folder.absolute(), item_handlers=_handlers()) as manager:
        step = manager.latest_step()
        if step is None:
            raise InputError(f"{workdir} holds no complete checkpoint")
        return _load(manager, step)


def _load(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """Read the state of a checkpoint, as it is stored, to the host."""
    host = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=host), _stored(manager, step))
    with _readable(manager, step):
        state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))["state"]
    return jax.device_get(state)


def _variables(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of a stored state that evaluation takes."""
    return averaged(state["params"], state.get("batch_stats") or {}, state.get("extra") or {})


def _check_model(step: int, stored: Any, like: Any) -> None:
    """Raise `InputError`, listing both sides, unless two trees have the same names and shapes."""
    found, wanted = ({_name(path): tuple(leaf.shape) for path, leaf in _leaves(tree)} for tree in (stored, like))
    if found != wanted:
        raise InputError(f"checkpoint {step} is of another model: {_difference(found, wanted)}")


@contextlib.contextmanager
def _readable(manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
    """Turn what Orbax raises for files that are damaged or gone into one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"checkpoint {manager.directory / str(step)} cannot be read ({said}): remove that folder, to go on from the "
            "one before it if there is one"
        ) from error


def _stored(manager: ocp.CheckpointManager, step: int) -> Any:
    """Return the shapes and dtypes of the state of a checkpoint."""
    with _readable(manager, step):
        stored = manager.item_metadata(step)["state"]
        if stored is None:
            raise ValueError("it has no state")
        return getattr(stored, "tree", stored)


def _handlers() -> dict[str, Any]:
    # Named ahead, so that Orbax does not warn of items whose kind it has yet to learn.
    return {"state": ocp.StandardCheckpointHandler(), "place": ocp.JsonCheckpointHandler()}


def _leaves(tree):
    return jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))


def _name(path) -> str:
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


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
