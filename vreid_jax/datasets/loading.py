"""A prepared dataset by its name: built on first use, once, whoever asks for it."""

import contextlib
import dataclasses
import difflib
import functools
import importlib
import io
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants

from vreid_jax.datasets import catalog, registration
from vreid_jax.datasets import progress as bars
from vreid_jax.datasets.beam import pipeline_options
from vreid_jax.datasets.manual.builder import ManualBuilder
from vreid_jax.errors import InputError
from vreid_jax.files import given_path, is_address

_FLOW = "flow"  # where `data.flow_building` keeps the optical flow of a dataset, hours of work, in its folder


@dataclasses.dataclass(frozen=True)
class Work:
    """Who draws or reads the tracklets of a build; the dataset has the same bytes whoever does.

    Attributes:
      processes: so many processes of this machine; None: one a core.
      beam: options of a pipeline of Apache Beam instead, `runner=DirectRunner,direct_num_workers=4`; empty: without Beam.
    """

    processes: int | None = None
    beam: str = ""

    def __post_init__(self):
        """Raise `InputError` for what cannot be."""
        if self.processes is not None and self.processes < 1:
            raise InputError(f"--processes={self.processes} must be at least 1")

    def download_config(self) -> tfds.download.DownloadConfig:
        """Return the configuration that TFDS hands to the builder."""
        options = pipeline_options(self.beam) if self.beam else None
        return tfds.download.DownloadConfig(try_download_gcs=False, beam_options=options)


def load_builder(
    name: str,
    data_dir: str | os.PathLike | None = None,
    progress: bool = True,
    work: Work | None = None,
    **fields: Any,
) -> tfds.core.DatasetBuilder:
    """Return the TFDS builder of a prepared dataset, after building it if need be.

    Two processes that ask for the same dataset build it once: the second waits for the first. A build that is
    interrupted leaves nothing behind that looks like a dataset.

    Args:
      name: "walkers/tiny", "walkers/demo", "walkers/small" ("walkers"), "walkers/gaits", "walkers/jitter", "walkers/bench",
        "walkers/mars_scale", "walkers/wild", "folder", or a dataset that `vreid data prepare` built, such as "mars_video".
      data_dir: folder of the datasets; None is `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
      progress: whether to show a bar while building.
      work: who draws or reads its tracklets, if it is built; the default is one process a core.
      **fields: fields of the dataset, e.g. `path` and `bad_frames` of "folder".

    Returns:
      The builder. Read it with `builder.as_data_source(split)`; `builder.info.metadata` describes the dataset.

    Raises:
      InputError: there is no such dataset or field, or the dataset must be prepared first.
    """
    root = _root(data_dir)
    make = _maker(name, root, fields)
    builder = make()
    if _is_prepared(builder):
        return builder
    if isinstance(builder, ManualBuilder):
        command = builder.PREPARE_COMMAND + ("" if root == _root(None) else f" --data_dir={shlex.quote(str(root))}")
        raise InputError(f"dataset {name!r} is not prepared under {root}; run `{command}` first")
    return _build(make, root, progress, work)


def manual_builder(name: str, data_dir: str | os.PathLike | None = None) -> ManualBuilder:
    """Return the builder of a dataset that `prepare` builds, whether it is prepared or not.

    Raises:
      InputError: there is no such dataset, or it needs no preparation.
    """
    builder = _maker(name, _root(data_dir), {})()
    if not isinstance(builder, ManualBuilder):
        raise InputError(f"dataset {name!r} needs no preparation")
    return builder


def is_prepared(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Return whether a dataset is built.

    Raises:
      InputError: there is no such dataset.
    """
    return _is_prepared(_maker(name, _root(data_dir), {})())


def prepare(
    name: str,
    manual_dir: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    progress: bool = True,
    rebuild: bool = False,
    work: Work | None = None,
    warn: bool = True,
) -> tfds.core.DatasetBuilder:
    """Build a dataset from the user's copy of its data, completely or not at all; one that is built is left alone.

    Args:
      name: "mars_video", "duke_video", or a division such as "ilids_vid/split_3" or "prid2011_video/split_0".
      manual_dir: folder or archive with the data as its authors packed them; only read.
      data_dir: as for `load_builder`.
      progress: whether to show a bar.
      rebuild: whether to build again what is built.
      work: who reads and checks its pictures; the default is one process a core.
      warn: whether to log the numbers that differ from the published ones, halves that are not the official ones, and the
        archives that are left out.

    Returns:
      The prepared builder.

    Raises:
      InputError: something in `manual_dir` is not as it must be.
    """
    root = _root(data_dir)

    def make() -> ManualBuilder:
        builder = manual_builder(name, root)
        builder.manual_dir, builder.warns = manual_dir, warn
        return builder

    builder = make()
    done = _is_prepared(builder) and not rebuild and not _aside(Path(builder.data_dir)).exists()
    return builder if done else _build(make, root, progress, work, rebuild)


def _root(data_dir: str | os.PathLike | None) -> Path:
    given = data_dir if data_dir is not None else constants.DATA_DIR
    if is_address(os.fspath(given)):
        raise InputError(
            f"datasets are built in a local folder, and {given} is an address: name a folder with data_dir or $TFDS_DATA_DIR"
        )
    return given_path(given)


def _build(
    make: Callable[[], Any], root: Path, progress: bool, work: Work | None, rebuild: bool = False
) -> tfds.core.DatasetBuilder:
    """Build the dataset of `make()` under its lock, unless another process did so while this one waited."""
    work = work or Work()
    config = work.download_config()
    with _locked(root, make()), bars.shown(progress):
        _restore(Path(make().data_dir))
        if not rebuild and _is_prepared(builder := make()):
            return builder
        final = Path(make().data_dir)
        _sweep(final, keep=rebuild)
        with _set_aside(final):
            builder = make()
            builder.processes = work.processes
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS says it downloads; nothing is downloaded
                builder.download_and_prepare(download_config=config, download_dir=root / "downloads")
    return builder


def _maker(name: str, root: Path, fields: dict[str, Any]) -> Callable[[], Any]:
    """Return what makes the builder of a dataset, prepared or not; a folder is listed once for all that it makes."""
    base, _, config = name.partition("/")
    dataset = catalog.of_builder(name)
    if dataset is None:
        raise InputError(_unknown(name, [known for each in catalog.DATASETS.values() for known in _names(each)]))
    _check_fields(dataset, fields)
    module = _module(dataset)
    if dataset.fields:  # the configuration is made of the fields
        required = dataset.fields[0]
        if config or not fields.get(required):
            raise InputError(f"dataset {base!r} needs the field {required}, a folder with {module.layout.NEEDED}")
        return functools.partial(module.Builder, config=module.folder_config(**fields), data_dir=root)
    if config and config not in module.Builder.builder_configs:
        raise InputError(_unknown(name, [f"{base}/{known}" for known in module.Builder.builder_configs] or [base]))
    return functools.partial(module.Builder, config=config or dataset.default_config or None, data_dir=root)


def _module(dataset: catalog.Dataset) -> Any:
    return importlib.import_module(f"{__package__}.{dataset.module}")


def _names(dataset: catalog.Dataset) -> list[str]:
    """Return the names under which a dataset is offered; of divisions, of which there are many, only their dataset's."""
    configs = [] if dataset.by_hand else list(_module(dataset).Builder.builder_configs)
    return [*(f"{dataset.builder}/{config}" for config in configs), dataset.builder]


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(set(known))
    return f"there is no dataset {name!r}; did you mean {' or '.join(near)}?"


def _check_fields(dataset: catalog.Dataset, fields: dict[str, Any]) -> None:
    for field in fields:
        if field not in dataset.fields:
            has = f"its fields are {', '.join(dataset.fields)}" if dataset.fields else "it has no fields"
            raise InputError(f"dataset {dataset.builder!r} has no field {field!r}; {has}")


def _is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
    """Return whether the dataset is built and `builder` knows it: one made before another process finished does not."""
    return bool(builder.info.splits) and (Path(builder.data_dir) / constants.DATASET_INFO_FILENAME).exists()


@contextlib.contextmanager
def _locked(root: Path, builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Hold the lock of one dataset, which vanishes with the process that holds it, however that ends."""
    path = root / f".{builder.info.full_name.replace('/', '-')}.lock"
    lock = filelock.FileLock(path)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot write datasets to {root}: {reason}; give another data_dir") from error
    try:
        yield
    finally:
        lock.release()


def _aside(final: Path) -> Path:
    return final.with_name(f"incomplete.before_{final.name}")


def _restore(final: Path) -> None:
    """Bring back the dataset that a killed rebuild had set aside, or remove it if replaced; call it under the lock."""
    if not _aside(final).exists():
        return
    if final.exists():
        _remove_former(final)
    else:
        _aside(final).rename(final)


def _remove_former(final: Path) -> None:
    """Remove the dataset that a rebuild has replaced, but for its optical flow, which says what records it is of."""
    aside = _aside(final)
    if (aside / _FLOW).exists() and not (final / _FLOW).exists():
        (aside / _FLOW).rename(final / _FLOW)
    shutil.rmtree(aside)


def _sweep(final: Path, keep: bool) -> None:
    """Remove what killed builds left, and the dataset itself unless `keep`; call it under the lock."""
    for left in final.parent.glob("*incomplete*"):
        shutil.rmtree(left, ignore_errors=True)
    if final.exists() and not keep:
        shutil.rmtree(final)


@contextlib.contextmanager
def _set_aside(final: Path) -> Iterator[None]:
    """Move a built dataset away while it is built again, and back if that fails."""
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
        _remove_former(final)


registration.import_builders()
