"""The speed and size columns of the M3D paper's Table 1: operations, bytes and clips per second of each network.

    python benchmarks/m3d_speed.py [--networks=m3d,i3d] [--lengths=8,16] [--frames=32] [--repeats=3] [--results=FOLDER]

Each is the evaluation program of a stream of `configs/m3d.py:mars` in float32, clips of 256x128, for the CPU. Printed
for a clip: operations of its convolutions and products, counted before it is compiled; the bytes that the compiled program
moves, see `compiled_programs.bytes_moved`; clips per second of processor time, all cores together, the best of
`--repeats`. The roofline is what both counts allow a GTX Titan X, the paper's card, whose measured rates stand beside it.
The parameters are those beyond the 2-D network. With `--results` what was found is kept, and a network that is there is
not measured again; what was measured under other conditions is refused.
"""

import argparse
import json
import math
import time
from pathlib import Path

import jax
from compiled_programs import bytes_moved
from operations import matrix_operations
from programs import evaluation_program, filled
from walkers_runs import some_of, whole_numbers

from vreid_jax import models
from vreid_jax.config import from_file
from vreid_jax.errors import InputError
from vreid_jax.experiment.workdir import differences
from vreid_jax.files import atomic_file
from vreid_jax.runtime import setup_process
from vreid_jax.runtime.exit_codes import exit_codes

CONFIG = Path(__file__).parents[1] / "configs" / "m3d.py"
TITAN_X = 3072 * 2 * 1.0e9, 336.5e9
"""Operations in float32 and bytes a second: NVIDIA's page on the GeForce GTX Titan X, at its base clock."""

NETWORKS = {  # name -> (title, what stands behind the configuration, the model of its backbone)
    "2d": ("2-D", "streams=spatial", "resnet50"),
    "2d-stride-2": ("2-D, last stride 2", "streams=spatial,model.spatial_last_stride=2", "resnet50"),
    "i3d": ("I3D", "streams=temporal,model.temporal=i3d", "resnet50_i3d"),
    "p3d-a": ("P3D-A", "streams=temporal,model.temporal=p3d_a", "resnet50_p3d_a"),
    "p3d-b": ("P3D-B", "streams=temporal,model.temporal=p3d_b", "resnet50_p3d_b"),
    "p3d-c": ("P3D-C", "streams=temporal,model.temporal=p3d_c", "resnet50_p3d_c"),
    "m3d": ("M3D", "streams=temporal,model.ral=", "resnet50_m3d"),
    "m3d-no-stem": (
        "M3D, no layer behind the stem",
        "streams=temporal,model.ral=,model.stem_m3d=False",
        "resnet50_m3d",
    ),
    "m3d-unstrided": ("M3D, time unstrided", "streams=temporal,model.ral=,model.temporal_stride=False", "resnet50_m3d"),
    "ral": ("M3D + RAL", "streams=temporal,model.ral=sct", "resnet50_m3d"),
}
PAPER = {  # (network, T) -> clips per second on a Titan X
    ("2d", 1): 796.0,
    ("2d-stride-2", 1): 796.0,
    ("i3d", 8): 81.0,
    ("i3d", 16): 38.7,
    ("p3d-a", 8): 90.1,
    ("p3d-a", 16): 46.9,
    ("p3d-b", 8): 93.9,
    ("p3d-b", 16): 48.7,
    ("p3d-c", 8): 87.6,
    ("p3d-c", 16): 45.4,
    ("m3d", 8): 98.3,
    ("m3d", 16): 49.1,
    ("m3d-no-stem", 8): 98.3,
    ("m3d-no-stem", 16): 49.1,
    ("m3d-unstrided", 8): 98.3,
    ("m3d-unstrided", 16): 49.1,
}


def parameters(config, name: str) -> float:
    """Return the megabytes of a backbone's parameters in float32."""
    model = NETWORKS[name][2]
    own = {field: value for field, value in config.model.items() if field in models.entry(model).fields}
    module = models.create(model, **own)
    clip = jax.ShapeDtypeStruct((1, config.model.clip_length, 64, 32, 3), "float32")
    shapes = jax.eval_shape(module.init, jax.random.key(0), clip)["params"]
    return 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e6


def measure(name: str, length: int, frames: int, repeats: int) -> dict[str, float]:
    """Count and run the evaluation of a network on clips of so many frames, `frames` of them in a batch."""
    _, fields, _ = NETWORKS[name]
    config = from_file(f"{CONFIG}:mars,clip_length={length},{fields}")
    (stream,) = config.evaluation.streams
    program = evaluation_program(config, stream, jax.devices()[0], dtype="float32", batch_frames=frames)
    traced = program.function.trace(*program.arguments)
    operations = matrix_operations(traced.jaxpr)
    compiled = traced.lower().compile()
    found = {
        "clips": program.clips,
        "GFLOP": operations / program.clips / 1e9,
        "MB": bytes_moved(compiled.as_text()) / program.clips / 1e6,
        "parameters": parameters(config, name),
    }
    arguments = filled(program)
    compiled(*arguments).block_until_ready()
    seconds = math.inf
    for _ in range(repeats):
        started = time.process_time()
        compiled(*arguments).block_until_ready()
        seconds = min(seconds, time.process_time() - started)
    return {**found, "rate": program.clips / seconds}


def kept_or_measured(file: Path | None, name: str, length: int, frames: int, repeats: int) -> dict[str, float]:
    """Return what `measure` finds, or what it has found and left in `file`.

    Raises:
      InputError: when that was measured with other arguments, another JAX or on another device.
    """
    device = jax.devices()[0].device_kind
    conditions = {"frames": frames, "repeats": repeats, "jax": jax.__version__, "device": device}
    if file and file.exists():
        kept = json.loads(file.read_text())
        if different := differences(kept.get("conditions", {}), conditions, ()):
            raise InputError(
                f"{file} was measured under other conditions: {'; '.join(different)}. Use another folder, or remove the "
                "file, to measure again"
            )
        return kept
    found = measure(name, length, frames, repeats)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as half:
            half.write_text(json.dumps({**found, "conditions": conditions}) + "\n")
    return found


def line(name: str, length: int, found: dict[str, float], beyond: float) -> str:
    """Return a row of the table."""
    peak, bandwidth = TITAN_X
    roofline = 1 / max(found["GFLOP"] * 1e9 / peak, found["MB"] * 1e6 / bandwidth)
    paper = PAPER.get((name, length))
    theirs = f"{paper:.1f} | {paper * found['GFLOP'] / 1e3:.1f}" if paper else " | "
    return (
        f"| {NETWORKS[name][0]} | {length} | {found['GFLOP']:.1f} | {found['MB']:.0f} | {roofline:.0f} | {theirs} | "
        f"{found['rate']:.2f} | {beyond:.1f} |"
    )


def main() -> None:
    """Measure and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks", type=some_of("network", NETWORKS), default=",".join(NETWORKS), help="some of them, with commas"
    )
    parser.add_argument(
        "--lengths", type=whole_numbers, default="8,16", help="frames of a clip; of the 2-D network one"
    )
    parser.add_argument("--frames", type=int, default=32, help="in a batch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, help="folder for what was found; what lies there is not measured again")
    flags = parser.parse_args()
    if flags.frames < 1 or flags.repeats < 1:
        parser.error(f"--frames is {flags.frames} and --repeats {flags.repeats}; both must be at least 1")
    jax.config.update("jax_platforms", "cpu")
    setup_process(compilation_cache=False)
    two_d = parameters(from_file(f"{CONFIG}:mars"), "2d")
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, float32, {flags.frames} frames of 256x128 a batch\n")
    print(
        "| network | T | GFLOP | MB moved | roofline, Titan X | paper, clips/s | TFLOP/s of it | here, clips/s | + MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in flags.networks:
        for length in (1,) if name.startswith("2d") else flags.lengths:
            file = flags.results / f"{name}-{length}.json" if flags.results else None
            found = kept_or_measured(file, name, length, flags.frames, flags.repeats)
            print(line(name, length, found, found["parameters"] - two_d), flush=True)


if __name__ == "__main__":
    with exit_codes("m3d_speed"):
        main()
