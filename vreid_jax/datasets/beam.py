"""A pure function applied to many items by Apache Beam, in order, for builds that are spread over many machines."""

import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_BLOCK = 64  # items for which a worker writes one file


def in_order_by_beam(
    function: Callable[[_Item], _Result], items: Sequence[_Item], runner: Any, options: Any, folder: Path
) -> Iterator[_Result]:
    """Yield `function(item)` for each item, in order, as `processes.in_order` does.

    Workers write their results into `folder`, which all machines see; they are read from there one block at a time, and
    removed. A worker whose work is repeated writes the same file again.

    Args:
      function: a pure function that can be pickled, as its items and results.
      items: what to apply it to.
      runner: of Beam, such as `DirectRunner`; None: the one that the options name.
      options: Beam's `PipelineOptions`, or None.
      folder: a folder for unfinished results, which is made and removed.

    Raises:
      InputError: when Beam is not installed; the first that the function raises, in the order of the items.
    """
    beam = _beam()
    folder.mkdir(parents=True)
    try:
        blocks = [(start, list(items[start : start + _BLOCK])) for start in range(0, len(items), _BLOCK)]
        with beam.Pipeline(runner=runner, options=options) as pipeline:
            # Without the shuffle a runner may give all blocks to one worker.
            write = beam.Map(_write_block, function=function, folder=str(folder))
            _ = pipeline | beam.Create(blocks) | beam.Reshuffle() | write
        for start, _ in blocks:
            file = folder / f"{start}"
            for result in pickle.loads(file.read_bytes()):
                if isinstance(result, InputError):
                    raise result
                yield result
            file.unlink()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pipeline_options(text: str) -> Any:
    """Return Beam's options as `tfds build --beam_pipeline_options` takes them: `NAME=VALUE` or `NAME`, with commas.

    Raises:
      InputError: when Beam is not installed, or does not take them.
    """
    _beam()
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        return PipelineOptions([f"--{option.strip()}" for option in text.split(",")])
    except (ValueError, SystemExit) as error:
        raise InputError(f"Beam does not take the options {text}: {error}") from error


def _write_block(block: tuple[int, list], function: Callable, folder: str) -> None:
    """Write the results of a block of items, or the error with which it ends."""
    start, items = block
    results: list = []
    for item in items:
        try:
            results.append(function(item))
        except InputError as error:
            results.append(error)
            break
    with atomic_file(Path(folder) / f"{start}") as half:
        half.write_bytes(pickle.dumps(results))


def _beam():
    try:
        import apache_beam
    except ImportError as error:
        raise InputError(
            "options of Beam were given, and Beam is not installed: python3 -m pip install apache-beam, or leave them away"
        ) from error
    return apache_beam
