"""A prepared dataset by its name: built on first use, once, whoever asks."""

import contextlib
import difflib
import fcntl
import io
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants

from vreid_jax.datasets import progress as bars
from vreid_jax.datasets.duke_video import duke_video_dataset_builder as duke_video
from vreid_jax.datasets.ilids_vid import ilids_vid_dataset_builder as ilids_vid
from vreid_jax.datasets.manual.builder import ManualBuilder
from vreid_jax.datasets.mars_video import mars_video_dataset_builder as mars_video
from vreid_jax.datasets.prid2011_video import prid2011_video_dataset_builder as prid2011_video
from vreid_jax.datasets.tracklet_folder import folder_dataset_builder as folder
from vreid_jax.datasets.walkers import walkers_dataset_builder as walkers
from vreid_jax.errors import InputError

_PACKAGE = "vreid_jax.datasets."


def load_builder(name: str, data_dir: str | os.PathLike | None = None, progress: bool = True, **fields):
    """A prepared TFDS builder, built first if need be.

    Two processes that ask for the same dataset build it once: the second waits for the first. A build that is
    interrupted leaves nothing behind that looks like a dataset.

    Args:
      name: "walkers/tiny", "walkers/small" ("walkers"), "walkers/gaits", "walkers/jitter", "walkers/bench",
        "walkers/mars_scale", "folder", or a dataset prepared by a command of data_prep.
      data_dir: where datasets are; None is `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
      progress: whether to show a bar while building.
      **fields: fields of the dataset, e.g. `path` and `bad_frames` of "folder".

    Returns:
      The builder: read it with `builder.as_data_source(split)`; `builder.info.metadata` is what the dataset says of
      itself.

    Raises:
      InputError: no such dataset or field, or one that must be prepared first.
    """
    root = _root(data_dir)
    builder = _make(name, root, fields)
    if _is_prepared(builder):
        return builder
    if isinstance(builder, ManualBuilder):
        command = builder.PREPARE_COMMAND + ("" if root == _root(None) else f" --data_dir={shlex.quote(str(root))}")
        raise InputError(f"dataset {name!r} is not prepared under {root}; run `{command}` first")
    return _build(lambda: _make(name, root, fields), root, progress)


def manual_builder(name: str, data_dir: str | os.PathLike | None = None) -> ManualBuilder:
    """The builder of a dataset that `prepare` builds, prepared or not; raises `InputError` for another name."""
    builder = _make(name, _root(data_dir), {})
    if not isinstance(builder, ManualBuilder):
        raise InputError(f"dataset {name!r} needs no preparation")
    return builder


def is_prepared(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Whether a dataset is built; raises `InputError` where there is none of that name."""
    return _is_prepared(_make(name, _root(data_dir), {}))


def prepare(
    name: str,
    manual_dir: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    progress: bool = True,
    rebuild: bool = False,
):
    """Build a dataset from what the user has of it, unless it is built; in one piece, or not at all.

    Args:
      name: "mars_video", "duke_video", or a division such as "ilids_vid/split_3" or "prid2011_video/split_0".
      manual_dir: folder or archive with the data as they came; only read.
      data_dir: as for `load_builder`.
      progress: whether to show a bar.
      rebuild: whether to build again what is built.

    Returns:
      The prepared builder.

    Raises:
      InputError: something in `manual_dir` is not as it must be.
    """
    root = _root(data_dir)

    def make() -> ManualBuilder:
        builder = manual_builder(name, root)
        builder.manual_dir = manual_dir
        return builder

    builder = make()
    return builder if _is_prepared(builder) and not rebuild else _build(make, root, progress, rebuild)


def _root(data_dir: str | os.PathLike | None) -> Path:
    return Path(data_dir if data_dir is not None else constants.DATA_DIR).expanduser()


def _build(make: Callable, root: Path, progress: bool, rebuild: bool = False):
    with _alone(root, make()), bars.shown(progress):
        _restore(Path(make().data_dir))
        if not rebuild and _is_prepared(builder := make()):  # somebody else built it while we waited
            return builder
        final = Path(make().data_dir)
        _sweep(final, keep=rebuild)
        with _set_aside(final):
            builder = make()
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


_ON_DEMAND = {"walkers": _walkers, "folder": _folder}
_MANUAL = {module.Builder.name: module.Builder for module in (mars_video, ilids_vid, prid2011_video, duke_video)}


def _make(name: str, root: Path, fields: dict):
    base, _, config = name.partition("/")
    if base in _ON_DEMAND:
        return _ON_DEMAND[base](config, root, fields)
    if base not in _MANUAL:
        raise InputError(_unknown(name, [*(f"walkers/{c}" for c in walkers.CONFIGS), *_ON_DEMAND, *_MANUAL]))
    _refuse_unknown(base, fields, ())
    known = list(_MANUAL[base].builder_configs)
    if config and config not in known:
        raise InputError(_unknown(name, [f"{base}/{c}" for c in known] or [base]))
    return _MANUAL[base](config=config or None, data_dir=root)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(set(known))
    return f"there is no dataset {name!r}; did you mean {' or '.join(near)}?"


def _refuse_unknown(dataset: str, fields: dict, known: tuple[str, ...]) -> None:
    for field in fields:
        if field not in known:
            has = f"its fields are {', '.join(known)}" if known else "it has no fields"
            raise InputError(f"dataset {dataset!r} has no field {field!r}; {has}")


def _is_prepared(builder) -> bool:
    """Whether the dataset is built and `builder` has read it: one made just before another process was done has not."""
    return bool(builder.info.splits) and (Path(builder.data_dir) / constants.DATASET_INFO_FILENAME).exists()


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


def _aside(final: Path) -> Path:
    return final.with_name(f"incomplete.before_{final.name}")


def _restore(final: Path) -> None:
    """Brings back the dataset that a rebuild which was killed had set aside; under its lock."""
    if _aside(final).exists() and not final.exists():
        _aside(final).rename(final)


def _sweep(final: Path, keep: bool) -> None:
    """Removes what killed builds of a dataset left, and the dataset itself unless it is to be kept; under its lock."""
    for left in final.parent.glob("*incomplete*"):
        shutil.rmtree(left, ignore_errors=True)
    if final.exists() and not keep:
        shutil.rmtree(final)


@contextlib.contextmanager
def _set_aside(final: Path) -> Iterator[None]:
    """Moves a built dataset away while it is built anew, and back if that fails."""
    aside = _aside(final)
    there = final.exists()
    if there:
        final.rename(aside)
    try:
        yield
    except BaseException:
        if there:
            aside.rename(final)
        raise
    if there:
        shutil.rmtree(aside)
