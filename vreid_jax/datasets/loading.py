"""A prepared dataset by its name: built on first use, once, whoever asks."""

import contextlib
import difflib
import fcntl
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants

from vreid_jax.datasets import progress as bars
from vreid_jax.datasets.tracklet_folder import folder_dataset_builder as folder
from vreid_jax.datasets.walkers import walkers_dataset_builder as walkers
from vreid_jax.errors import InputError

_PACKAGE = "vreid_jax.datasets."


def load_builder(name: str, data_dir: str | os.PathLike | None = None, progress: bool = True, **fields):
    """A prepared TFDS builder, built first if need be.

    Two processes that ask for the same dataset build it once: the second waits for the first. A build that is
    interrupted leaves nothing behind that looks like a dataset.

    Args:
      name: "walkers/tiny", "walkers/small" ("walkers"), "walkers/bench", "walkers/mars_scale", "folder", or a
        dataset prepared by a command of data_prep.
      data_dir: where datasets are; None is `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
      progress: whether to show a bar while building.
      **fields: fields of the dataset, e.g. `path` and `bad_frames` of "folder".

    Returns:
      The builder: read it with `builder.as_data_source(split)`; `builder.info.metadata` is what the dataset says of
      itself.

    Raises:
      InputError: no such dataset or field, or one that must be prepared first.
    """
    root = Path(data_dir if data_dir is not None else constants.DATA_DIR).expanduser()
    builder = _make(name, root, fields)
    if _is_prepared(builder):
        return builder
    base = name.partition("/")[0]
    if base not in _ON_DEMAND:
        command = getattr(type(builder), "PREPARE_COMMAND", f"python data_prep/{base}.py")
        raise InputError(f"dataset {name!r} is not prepared under {root}; run `{command}` first")
    with _alone(root, builder), bars.shown(progress):
        builder = _make(name, root, fields)  # somebody else may have built it while we waited
        if not _is_prepared(builder):
            _sweep(builder)
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS says it downloads; nothing is downloaded
                builder.download_and_prepare(download_config=config, download_dir=root / "downloads")
    return builder


def _walkers(config: str, root: Path, fields: dict):
    _refuse_unknown("walkers", fields, ())
    config = config or "small"
    if config not in walkers.CONFIGS:
        raise InputError(_unknown(f"walkers/{config}", [f"walkers/{c}" for c in walkers.CONFIGS]))
    return walkers.Builder(config=config, data_dir=root)


def _folder(config: str, root: Path, fields: dict):
    _refuse_unknown("folder", fields, ("path", "bad_frames"))
    if config or not fields.get("path"):
        raise InputError("dataset 'folder' needs the field path, a folder with train, query and gallery")
    return folder.Builder(config=folder.folder_config(**fields), data_dir=root)


_PLANNED = ("mars_video", "ilids_vid", "prid2011_video", "duke_video")
_ON_DEMAND = {"walkers": _walkers, "folder": _folder}


def _make(name: str, root: Path, fields: dict):
    base, _, config = name.partition("/")
    if base in _ON_DEMAND:
        return _ON_DEMAND[base](config, root, fields)
    ours = _registered()
    if base in _PLANNED and base not in ours:
        raise InputError(f"dataset {name!r} has no builder in this version yet; 'walkers' and 'folder' have")
    if base not in ours:
        raise InputError(_unknown(name, [*(f"walkers/{c}" for c in walkers.CONFIGS), *_ON_DEMAND, *ours]))
    _refuse_unknown(base, fields, ())
    known = [c.name for c in ours[base].BUILDER_CONFIGS]
    if config and config not in known:
        raise InputError(_unknown(name, [f"{base}/{c}" for c in known] or [base]))
    return ours[base](config=config or None, data_dir=root)


def _registered() -> dict:
    """Builders of this package, by name; those of TFDS are not for re-identification."""
    registry = tfds.core.registered._DATASET_REGISTRY
    return {name: cls for name, cls in registry.items() if cls.__module__.startswith(_PACKAGE)}


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(set(known))
    return f"there is no dataset {name!r}; did you mean {' or '.join(near)}?"


def _refuse_unknown(dataset: str, fields: dict, known: tuple[str, ...]) -> None:
    for field in fields:
        if field not in known:
            has = f"its fields are {', '.join(known)}" if known else "it has no fields"
            raise InputError(f"dataset {dataset!r} has no field {field!r}; {has}")


def _is_prepared(builder) -> bool:
    return (Path(builder.data_dir) / constants.DATASET_INFO_FILENAME).exists()


@contextlib.contextmanager
def _alone(root: Path, builder) -> Iterator[None]:
    """Holds the lock of one dataset; it vanishes with the process that holds it, however that ends."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = open(root / f".{builder.info.full_name.replace('/', '-')}.lock", "w")  # noqa: SIM115
    except OSError as e:
        raise InputError(f"cannot write datasets to {root}: {e.strerror}; give another data_dir") from e
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(builder) -> None:
    """Removes what killed builds of this dataset left; called under its lock."""
    final = Path(builder.data_dir)
    for left in final.parent.glob("*incomplete*"):
        shutil.rmtree(left, ignore_errors=True)
    if final.exists():
        shutil.rmtree(final)
