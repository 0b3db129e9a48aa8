"""Checkpoints: train state, place in the run and data iterator, written together by Orbax; the only file that knows it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vreid_jax.errors import InputError


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

    def save(self, step: int, state: Any, place: dict[str, Any]) -> None:
        """Write the state and `place` (JSON: phase, seconds, data iterator); returns before the disk has it all."""
        if step != self.latest():
            self._manager.save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), place=ocp.args.JsonSave(place))
            )

    def place(self, step: int) -> dict[str, Any]:
        """Read where in the run checkpoint `step` was written."""
        with _readable(self._manager, step):
            return self._manager.restore(step, args=ocp.args.Composite(place=ocp.args.JsonRestore()))["place"]

    def restore(self, step: int, like: Any) -> Any:
        """Read the state of checkpoint `step` into the structure, shapes and shardings of `like`.

        Raises:
          InputError: when the checkpoint is of another model; both sides of the mismatch are listed; or is damaged.
        """
        stored = _stored(self._manager, step)
        found = {_name(path): tuple(leaf.shape) for path, leaf in _leaves(stored)}
        wanted = {_name(path): tuple(leaf.shape) for path, leaf in _leaves(like)}
        if found != wanted:
            raise InputError(f"checkpoint {step} is of another model: {_difference(found, wanted)}")
        with _readable(self._manager, step):
            return self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))["state"]

    def extra(self, step: int) -> dict[str, Any]:
        """Say what arrays checkpoint `step` holds as the state's `extra`, as shapes; `prepare` may have made any."""
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
    state = load_state(workdir)
    return {"params": state["params"], "batch_stats": state["batch_stats"]}


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
        host = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=host), _stored(manager, step))
        with _readable(manager, step):
            state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))["state"]
    return jax.device_get(state)


@contextlib.contextmanager
def _readable(manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
    """Turns what Orbax raises for files that are damaged or gone into one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"checkpoint {manager.directory / str(step)} cannot be read ({said}): remove that folder, to go on from the "
            "one before it if there is one"
        ) from error


def _stored(manager: ocp.CheckpointManager, step: int) -> Any:
    """The shapes and dtypes of the state of a checkpoint."""
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
