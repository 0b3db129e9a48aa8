"""The base of every builder: tracklets go to disk one at a time, in the order they come."""

import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence

import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer, hashing, splits

from vreid_jax.datasets import example, progress
from vreid_jax.errors import InputError

_SHARD_BYTES = 512 << 20
_OPTIONS = (
    "group_size:1,uncompressed"  # frames are compressed already; unpacking a record would cost as much as 3 frames
)


class TrackletBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS builder of tracklets in array records.

    TFDS's own writer sorts a split: it holds up to a gigabyte of it in memory, and beyond that needs TensorFlow. This
    one holds one tracklet, whatever the size of the dataset.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012

    def __init__(self, *, file_format: str | None = None, **kwargs):
        # Only array records can be read by index.
        super().__init__(file_format=file_format or "array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=example.features(), metadata=tfds.core.MetadataDict())

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        limit = download_config.max_examples_per_split
        if limit == 0:
            return
        infos = [
            self._write_split(split, itertools.islice(examples, limit))
            for split, examples in self._split_generators(dl_manager).items()
        ]
        self.info.set_splits(splits.SplitDict(infos))

    def _write_split(self, split: str, examples: Iterable[tuple[str, dict]]) -> splits.SplitInfo:
        features = self.info.features
        serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
        seen: set[str] = set()
        shards: list[int] = []
        written = in_shard = frames = 0
        writer, started = None, time.perf_counter()
        try:
            for key, tracklet in examples:
                if key in seen:
                    raise InputError(f"tracklet {key} is twice in the split {split} of {self.info.full_name}")
                seen.add(key)
                frames += len(tracklet["frames"])
                record = serializer.serialize_example(features.encode_example(tracklet))
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
            raise InputError(f"the split {split} of {self.info.full_name} has no tracklets")
        template = self._get_filename_template(split_name=split)
        for number in range(len(shards)):
            final = template.sharded_filepath(shard_index=number, num_shards=len(shards))
            self._unnamed(split, number).rename(final)
        progress.rate(f"{self.info.full_name} {split}", sum(shards), frames, time.perf_counter() - started)
        return splits.SplitInfo(name=split, shard_lengths=shards, num_bytes=written, filename_template=template)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Says in one sentence that a disk is full, or whatever else keeps records from it."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # array records know the latter only
            reason = str(error).partition(";")[0]
            raise InputError(
                f"cannot write {self.info.full_name} to {self.data_path.parent}: {reason}; make room, or give another data_dir"
            ) from error

    def _unnamed(self, split: str, number: int):
        """A shard until the number of shards, which is in their names, is known."""
        return self.data_path / f"{split}.{number}.unfinished"


def in_hashed_order(items: Sequence, keys: Sequence[str], split: str) -> list:
    """`items` in the order in which TFDS's own writer would store them: that of a hash of their keys."""
    hasher = hashing.Hasher(split)
    hashes = [hasher.hash_key(key) for key in keys]
    return [items[i] for i in sorted(range(len(items)), key=hashes.__getitem__)]
