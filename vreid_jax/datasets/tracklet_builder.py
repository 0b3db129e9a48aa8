"""The base of every builder: it writes tracklets one at a time, in the order in which they are generated."""

import contextlib
import io
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tensorflow_datasets as tfds
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue] # has no stubs
from tensorflow_datasets.core import example_parser, example_serializer, hashing, splits
from tensorflow_datasets.core.utils.lazy_imports_utils import tensorflow as tf  # imported when an attribute is read

from vreid_jax.datasets import example, progress
from vreid_jax.datasets.beam import in_order_by_beam
from vreid_jax.datasets.processes import FEWEST, in_order
from vreid_jax.errors import InputError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_FORMAT = "array_record"
_SHARD_BYTES = 512 << 20
# Frames are compressed already; unpacking a record would cost as much as decoding 3 frames.
_OPTIONS = "group_size:1,uncompressed"


class TrackletBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS builder that stores tracklets as array records, and reads them as a data source or with `tf.data`.

    TFDS's own writer sorts a split: it holds up to a gigabyte of it in memory, and beyond that needs TensorFlow. This
    one holds one tracklet, whatever the size of the dataset.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012
    processes: int | None = None  # that draw or read tracklets while it is built; None: one a core
    fewest: int = FEWEST  # tracklets for which a process is worth starting
    _beam: tuple[Any, Any] = (None, None)  # runner and options of the build that is under way

    def __init__(self, *, file_format: str | tfds.core.FileFormat | None = None, **kwargs: Any):
        given = getattr(file_format, "value", file_format) or _FORMAT
        if given != _FORMAT:
            raise InputError(f"file_format is {given!r}; {self.name} is stored as {_FORMAT}, which is read by index")
        super().__init__(file_format=_FORMAT, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=example.features(), metadata=tfds.core.MetadataDict())

    @property
    def _features(self) -> tfds.features.FeaturesDict:
        features = self.info.features
        assert isinstance(features, tfds.features.FeaturesDict)  # as `_info` says
        return features

    def describe(self, **about: Any) -> None:
        """Add to the metadata that are stored with the dataset."""
        assert isinstance(self.info.metadata, tfds.core.MetadataDict)  # as `_info` says
        self.info.metadata.update(about)

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        limit = download_config.max_examples_per_split
        if limit == 0:
            return
        self._beam = (download_config.beam_runner, download_config.beam_options)
        infos = [
            self._write_split(split, itertools.islice(examples, limit))
            for split, examples in self._split_generators(dl_manager).items()
        ]
        self.info.set_splits(splits.SplitDict(infos))

    def _in_order(self, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
        """Yield `function(item)` for each item, computed by processes, or by Beam where TFDS was given its options."""
        runner, options = self._beam
        if runner is None and options is None:
            return in_order(function, items, self.processes, self.fewest)
        return in_order_by_beam(function, items, runner, options, Path(self.data_path, "beam.unfinished"))

    def _examples(
        self, tracklets: Sequence[Any], frames: Iterable[list[bytes]], what: str
    ) -> Iterator[tuple[str, dict]]:
        """Yield the examples of tracklets.

        Args:
          tracklets: each with `tracklet_id`, `pid` and `camid`.
          frames: of each, encoded.
          what: what the progress bar says.
        """
        for tracklet, encoded in zip(progress.tracklets(tracklets, what), frames, strict=True):
            yield (
                tracklet.tracklet_id,
                {
                    "frames": [io.BytesIO(frame) for frame in encoded],
                    "pid": tracklet.pid,
                    "camid": tracklet.camid,
                    "tracklet_id": tracklet.tracklet_id,
                },
            )

    def _as_dataset(
        self,
        split: Any,
        decoders: Any = None,
        read_config: tfds.ReadConfig | None = None,
        shuffle_files: bool = False,
    ):
        """Return the `tf.data.Dataset` of `tfds.load`: TFDS itself reads array records as a data source only.

        Records are read by index, so `shuffle_files` shuffles tracklets rather than files, `repeat_filenames` repeats them,
        and each of the workers of an `input_context` reads tracklets of its own.

        Raises:
          InputError: for `add_tfds_id`, a name that TFDS makes of the file and the place in it.
        """
        read_config = read_config or tfds.ReadConfig()
        if read_config.add_tfds_id:
            raise InputError(
                f"add_tfds_id is True; {self.name} has no such ids: its examples have a tracklet_id, use that"
            )
        features: tfds.features.FeatureConnector = self._features
        if isinstance(decoders, tfds.decode.PartialDecoding):
            features, decoders = decoders.extract_features(features), decoders.decoders
        assert isinstance(features, tfds.features.FeaturesDict)  # part of one is one
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        records = self.as_data_source(split, deserialize_method=raw)  # pyright: ignore[reportCallIssue] # is decorated
        parser = example_parser.ExampleParser(features.get_serialized_info())

        def read(index):
            record = tf.numpy_function(lambda i: records[int(i)], [index], tf.string)
            return features.decode_example(parser.parse_example(tf.ensure_shape(record, ())), decoders=decoders)

        indices = tf.data.Dataset.range(len(records))
        if context := read_config.input_context:
            indices = indices.shard(context.num_input_pipelines, context.input_pipeline_id)
        if shuffle_files:
            again = read_config.shuffle_reshuffle_each_iteration
            indices = indices.shuffle(len(records), read_config.shuffle_seed, True if again is None else again)
        if read_config.repeat_filenames:
            indices = indices.repeat()
        dataset = indices.map(read, num_parallel_calls=read_config.num_parallel_calls_for_decode)
        return dataset.with_options(read_config.options or tf.data.Options())

    def _write_split(self, split: str, examples: Iterable[tuple[str, dict]]) -> splits.SplitInfo:
        features = self._features
        specs: dict[str, Any] = features.get_serialized_info()
        serializer = example_serializer.ExampleSerializer(specs)
        seen: set[str] = set()
        shards: list[int] = []
        written = in_shard = frames = 0
        writer, started = None, time.perf_counter()
        try:
            for key, tracklet in examples:
                if key in seen:
                    raise InputError(f"tracklet {key} occurs twice in split {split} of {self.info.full_name}")
                seen.add(key)
                frames += len(tracklet["frames"])
                example = serializer.get_tf_example(features.encode_example(tracklet))
                # Without it, every process has an order of its own for the fields of a record.
                record = example.SerializeToString(deterministic=True)
                if writer is None or in_shard + len(record) > _SHARD_BYTES:
                    if writer:
                        with self._writing():
                            writer.close()
                    with self._writing():
                        writer = array_record_module.ArrayRecordWriter(str(self._unnamed(split, len(shards))), _OPTIONS)
                    shards.append(0)
                    in_shard = 0
                with self._writing():
                    writer.write(record)
                written, in_shard = written + len(record), in_shard + len(record)
                shards[-1] += 1
        finally:
            if writer:
                with self._writing():
                    writer.close()
        if not shards:
            raise InputError(f"split {split} of {self.info.full_name} has no tracklets")
        template = self._get_filename_template(split_name=split)
        for number in range(len(shards)):
            final = template.sharded_filepath(shard_index=number, num_shards=len(shards))
            self._unnamed(split, number).rename(final)
        progress.rate(f"{self.info.full_name} {split}", sum(shards), frames, time.perf_counter() - started)
        return splits.SplitInfo(name=split, shard_lengths=shards, num_bytes=written, filename_template=template)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Say in one sentence that a disk is full, or what else keeps records from being written."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # array_record raises only the latter
            reason = str(error).partition(";")[0]
            raise InputError(
                f"cannot write {self.info.full_name} to {self.data_path.parent}: {reason}; make room, or give another data_dir"
            ) from error

    def _unnamed(self, split: str, number: int):
        """Return the path of a shard while the number of shards, which is part of their names, is unknown."""
        return self.data_path / f"{split}.{number}.unfinished"


def in_hashed_order(items: Sequence, keys: Sequence[str], split: str) -> list:
    """Return `items` in the order in which TFDS's own writer would store them: that of a hash of their keys."""
    hasher = hashing.Hasher(split)
    hashes = [hasher.hash_key(key) for key in keys]
    return [items[i] for i in sorted(range(len(items)), key=hashes.__getitem__)]
