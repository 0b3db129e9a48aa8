"""What the library writes and reads again: results, metrics, checkpoints, model files, galleries, feature tables."""

import json
import random
import struct
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from hostile import changes
from hostile.judge import Another, Reader
from vreid_jax import data, datasets, evaluation, inference, models
from vreid_jax.inference.convert import card_of
from vreid_jax.report.stored import read_run, stored_distances
from vreid_jax.search import gallery
from vreid_jax.search.ranked import decision
from vreid_jax.training.checkpoints import Checkpoints, load_variables
from vreid_jax.training.position import Position
from vreid_jax.training.state import TrainState

_SCORES = {"num_queries": 4, "num_valid_queries": 4, "num_gallery": 9, "mAP": 0.5, "mAP_trapezoid": 0.5, "rank1": 0.5, "rank5": 1.0, "rank10": 1.0, "rank20": 1.0, "cmc": [0.5, 1.0]}  # fmt: skip
_OPEN_SET = {"protocol": "walkers", "metric": "euclidean", "equal_error_rate": 0.1, "false_accept_rate": [0.01, 0.1], "threshold": [0.4, 0.8], "true_accept_rate": [0.5, 0.9]}  # fmt: skip
_RESULTS = {"system": "toy", "dataset": "walkers", "split": 0, "seed": 0, "step": 8, "protocols": {"walkers": _SCORES}, "streams": {"spatial": {"walkers": _SCORES}}, "baselines": {"untrained": {"walkers": _SCORES}}, "metric": "euclidean", "open_set": _OPEN_SET, "skipped_frames": 0, "invalid_queries": 0}  # fmt: skip


def readers(toy: ConfigDict) -> list[Reader]:
    """Return the readers of the library's own files; `toy` is a configuration of the toy system."""
    model = _model(toy)
    builder = datasets.load_builder("walkers/tiny", toy.data.data_dir, progress=False)
    test = evaluation.make_test_set(*(data.TrackletSource(builder, split, False) for split in ("query", "gallery")))
    ids = test.tracklets.tracklet_ids

    def write_run(folder: Path) -> None:
        (folder / "config.json").write_text(toy.to_json())
        (folder / "results.json").write_text(json.dumps(_RESULTS, indent=1))
        (folder / "metrics.jsonl").write_text(
            "".join(json.dumps({"step": n, "loss": 1 / (n + 1)}) + "\n" for n in range(9))
        )
        (folder / "features").mkdir()
        for stream in toy.evaluation.streams:
            values = np.random.default_rng(0).normal(size=(len(ids), 4)).astype(np.float32)
            np.savez(folder / "features" / f"{stream}.npz", tracklet_ids=ids, features=values)

    def write_workdir(folder: Path) -> None:
        write_run(folder)
        params, batch_stats = model.variables["params"], model.variables["batch_stats"]
        state = jax.tree.map(
            jnp.asarray, TrainState(np.int32(4), params, batch_stats, {"trace": np.ones(3, np.float32)})
        )
        checkpoints = Checkpoints(folder, 2)
        for step in (4, 8):
            checkpoints.save(step, state, Position("temporal", step, 0, 1.0))
        checkpoints.wait()
        checkpoints.close()

    def write_model(folder: Path) -> None:
        inference.save(model, folder / "m.safetensors")

    return [
        Reader("results.json", write_run, _change_json("results.json"), lambda folder, _: read_run(folder).results, share=1),
        Reader("metrics.jsonl", write_run, _change_lines, lambda folder, _: read_run(folder).metrics, share=0.5),
        Reader("features", write_run, _change_features, _read_features(test), exact=True, share=1),
        Reader("checkpoint", write_workdir, _change_below("checkpoints"), _read_checkpoint, exact=True, share=1.5),
        Reader("workdir", write_workdir, _change_workdir, lambda folder, _: _of_model(inference.load(folder)), share=1),
        Reader("model file", write_model, _change_model, _read_model, exact=True, share=2),
        Reader("model card", write_model, _change_model, lambda folder, _: card_of(folder / "m.safetensors"), share=1),
        Reader("gallery", _write_gallery, _change_gallery, _read_gallery, exact=True, share=2),
    ]  # fmt: skip


def _model(toy: ConfigDict) -> inference.Model:
    fields = {key: value for key, value in toy.model.items() if key != "name"}
    entry = models.entry(toy.model.name)
    module = models.create(toy.model.name, **fields, num_classes=3)
    clips = jax.ShapeDtypeStruct((1, 2, toy.data.height, toy.data.width, 3), jnp.float32)
    shapes = dict(jax.eval_shape(module.init, jax.random.key(0), clips))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.uniform(0.05, 0.3, x.shape).astype(np.float32), shapes)
    return inference.Model(
        toy.model.name,
        fields,
        toy,
        variables,
        entry.mean,
        entry.std,
        {"licence": "MIT", "step": 8, "dataset": "walkers", "scores": {"walkers": _SCORES}, "open_set": _OPEN_SET},
    )


def _of_model(model: inference.Model) -> dict[str, Any]:
    """Return what vectors of a model depend on, and where the model comes from."""
    leaves = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(dict(model.variables))}  # fmt: skip
    return {"name": model.name, "fields": str(dict(model.fields)), "leaves": leaves, "mean": model.mean, "std": model.std, "fingerprint": model.fingerprint}  # fmt: skip


def _change_json(name: str):
    def change(rng: random.Random, folder: Path) -> tuple[str, None]:
        file = folder / name
        if rng.random() < 0.2:
            return changes.file_content(rng, file) if rng.random() < 0.7 else changes.place(rng, file), None
        changed, done = changes.json_text(rng, file.read_text())
        file.write_text(changed, errors="surrogatepass")
        return f"{name}: {done}", None

    return change


def _change_lines(rng: random.Random, folder: Path) -> tuple[str, None]:
    file = folder / "metrics.jsonl"
    if rng.random() < 0.3:
        return changes.file_content(rng, file) if rng.random() < 0.7 else changes.place(rng, file), None
    lines = file.read_text().splitlines()
    lines[rng.randrange(len(lines))], done = changes.json_text(rng, lines[0])
    file.write_text("\n".join(lines), errors="surrogatepass")
    return done, None


def _change_below(part: str):
    def change(rng: random.Random, folder: Path) -> tuple[str, None]:
        return changes.file_or_place(rng, folder / part), None

    return change


def _change_workdir(rng: random.Random, folder: Path) -> tuple[str, None]:
    if rng.random() < 0.5:
        return _change_json(rng.choice(("config.json", "results.json")))(rng, folder)
    return changes.place(rng, rng.choice(sorted(folder.iterdir()))), None


def _change_features(rng: random.Random, folder: Path) -> tuple[str, None]:
    file = folder / "features" / rng.choice(("spatial.npz", "temporal.npz"))
    if rng.random() < 0.7:
        return changes.file_content(rng, file) if rng.random() < 0.8 else changes.place(rng, file), None
    table = dict(np.load(file))
    rows = len(table["features"])
    kind = rng.choice(("object", "shape", "text", "nan", "missing", "complex"))
    if kind == "missing":
        del table[rng.choice(sorted(table))]
    else:
        table["features"] = {
            "object": lambda: np.array([_Touch(folder / "executed")] * rows, object),
            "shape": lambda: np.ones((rows, 4, 2, 2), np.float32),
            "text": lambda: np.array(["a"] * rows),
            "nan": lambda: np.full((rows, 4), np.nan, np.float32),
            "complex": lambda: np.ones((rows, 4), np.complex64),
        }[kind]()
    np.savez(file, **table)
    return Another(f"{file.name}: {kind}"), None


class _Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


def _read_features(test: evaluation.TestSet):
    def read(folder: Path, given: None) -> Any:
        distances: Any = stored_distances(read_run(folder), test)
        return np.asarray(distances(np.arange(2), np.arange(len(test.tracklets))))

    return read


def _read_checkpoint(folder: Path, given: None) -> Any:
    variables = load_variables(folder)
    return {
        jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


def _change_model(rng: random.Random, folder: Path) -> tuple[str, None]:
    """Change bytes, or a value of the metadata in the header; what others than the vectors depend on may change."""
    file = folder / "m.safetensors"
    if rng.random() < 0.6:
        return changes.file_content(rng, file), None
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    kind = rng.choice(("metadata", "metadata", "tensor", "size"))
    if kind == "metadata":
        about = header["__metadata__"]
        key = rng.choice(sorted(about))
        if about[key][:1] in "{[" and rng.random() < 0.8:
            about[key], done = changes.json_text(rng, about[key])
        else:
            about[key], done = changes.text(rng, about[key]), "text"
        done = f"{key}: {done}"
    elif kind == "tensor":
        name = rng.choice(sorted(set(header) - {"__metadata__"}))
        field = rng.choice(("dtype", "shape", "data_offsets"))
        header[name][field] = changes.value(rng, header[name][field])
        done = f"{name}.{field} = {str(header[name][field])[:60]!r}"
    else:
        size_now = rng.choice((0, 1, 2**31, 2**63, 2**64 - 1, size + 1, size - 1))
        file.write_bytes(struct.pack("<Q", size_now) + data[8:])
        return f"header of {size_now} bytes", None
    changed = json.dumps(header).encode(errors="surrogatepass")
    file.write_bytes(struct.pack("<Q", len(changed)) + changed + data[8 + size :])
    return done, None


def _read_model(folder: Path, given: None) -> Any:
    return _of_model(inference.load(folder / "m.safetensors"))


def _write_gallery(folder: Path) -> None:
    count = 12
    columns = {
        "tracklet_id": [f"{n}/c1_a" for n in range(count)], "split": ["gallery"] * count, "folder": ["/pictures"] * count,
        "model": ["0123456789abcdef"] * count, "pid": range(count), "camid": [1] * count, "num_frames": [5] * count,
        "first_frame": range(count), "last_frame": range(4, count + 4), "start_seconds": np.linspace(0, 1, count),
        "end_seconds": np.linspace(1, 2, count),
    }  # fmt: skip
    about = {"fingerprint": "0123456789abcdef", "model": "toy", "metric": "euclidean", "input": "/pictures", "dataset": "walkers", "open_set": _OPEN_SET, "measured_on": "/pictures"}  # fmt: skip
    vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    table = gallery.make_table(vectors, columns, about)
    with gallery.pyarrow().parquet.ParquetWriter(
        folder / "g.parquet", table.schema, write_page_checksum=True
    ) as writer:
        writer.write_table(table)


def _change_gallery(rng: random.Random, folder: Path) -> tuple[str, None]:
    """Change bytes; or replace a column by one of another type, or a value of the metadata."""
    file = folder / "g.parquet"
    if rng.random() < 0.6:
        return changes.file_or_place(rng, folder), None
    pa = gallery.pyarrow()
    table = pa.parquet.read_table(file)
    name = rng.choice(table.column_names)
    kind = rng.choice(("text", "null", "number", "gone", "list", "metadata", "bytes", "large"))
    made = {
        "text": lambda: pa.array(["x"] * len(table)),
        "null": lambda: pa.nulls(len(table)),
        "number": lambda: pa.array([1.5] * len(table)),
        "list": lambda: pa.array([[1.0, 2.0]] * (len(table) - 1) + [[]]),
        "bytes": lambda: pa.array([b"\xff"] * len(table)),
        "large": lambda: pa.array([2**63 + 5] * len(table), pa.uint64()),
    }
    if kind == "metadata":
        about, done = changes.json_text(rng, table.schema.metadata[gallery.KEY].decode())
        table = table.replace_schema_metadata({gallery.KEY: about.encode(errors="surrogatepass")})
        kind = f"metadata {done}"
    elif kind == "gone":
        table = table.drop_columns([name])
    else:
        table = table.set_column(table.column_names.index(name), name, made[kind]())
    pa.parquet.write_table(table, file)
    return Another(f"{name}: {kind}"), None


def _read_gallery(folder: Path, given: None) -> Any:
    read = gallery.open_gallery(folder / "g.parquet")
    decision(read.about, 0.05)
    return {"vectors": read.vectors, "columns": {name: values.tolist() for name, values in read.columns.items()}}
