"""Print the memory that a training step of a recipe takes, according to its compiled program; needs no data.

    python benchmarks/step_memory.py --config=configs/m3d.py:mars --set=dtype=bfloat16 --set=model.remat=True

prints a line for each phase: parameters with optimizer state and batch, what the step holds in addition while it runs, and
their sum, in GB. The line is about the device at hand, since its compiler decides. `--device=v5e` compiles for one chip
of a TPU without having one (libtpu, from the extra `tpu`, must be installed). Nothing is run, except with `--run`,
which takes one step on zeros: then the line ends with the peak memory of the process (Linux).
"""

import argparse
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from backbones import resident
from cards import CARDS
from device_programs import device_of
from programs import training_step

from vreid_jax.config import from_file, literal, set_field
from vreid_jax.errors import InputError
from vreid_jax.runtime import setup_process
from vreid_jax.runtime.xla_flags import ONEDNN_FLAG

GB = 1e9


def step_memory(config, name: str, identities: int, tracklets: int, device, run: bool) -> tuple[int, int, float]:
    """Return bytes of arguments and of temporaries of a phase's step compiled for `device`, and megabytes when run."""
    step = training_step(config, name, device, identities=identities, tracklets=tracklets)
    program = step.lower().compile()
    found = program.memory_analysis()
    return found.argument_size_in_bytes, found.temp_size_in_bytes, most_held(program, step.arguments) if run else 0.0


def most_held(program, arguments) -> float:
    """Return the peak memory of the process, in megabytes, while `program` runs on zeros."""
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), arguments)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the most it has held
    jax.block_until_ready(program(*zeros))
    return resident()["most"]


def main() -> None:
    """Print a line for each phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="as for vreid_jax.main")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of the configuration"
    )
    parser.add_argument("--identities", type=int, default=625, help="to train on; 625 are those of MARS")
    parser.add_argument("--tracklets", type=int, default=8298, help="of the training split, for cached features")
    parser.add_argument("--device", choices=CARDS, help="a card to compile for; default: the device at hand")
    parser.add_argument("--run", action="store_true", help="take one step, and measure")
    parser.add_argument("--phases", default="", help="some of them, with commas; default: all")
    arguments = parser.parse_args()
    try:
        config = from_file(arguments.config)
        for assignment in arguments.set:
            name, _, value = assignment.partition("=")
            set_field(config, name, literal(value))
    except InputError as error:
        parser.error(str(error))
    if arguments.device:
        # With oneDNN the layers would choose what suits this CPU.
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "").replace(f"{ONEDNN_FLAG}=true", "")
        device = device_of(CARDS[arguments.device])
    else:
        setup_process(compilation_cache=False)
        device = jax.devices()[0]
    for name in arguments.phases.split(",") if arguments.phases else config.phase_order:
        started = time.perf_counter()
        held, temporary, most = step_memory(
            config, name, arguments.identities, arguments.tracklets, device, arguments.run
        )
        print(
            f"{config.system} {name}, batch {config.phases[name].batch_size}, {' '.join(arguments.set)}: "
            f"{held / GB:.2f} + {temporary / GB:.2f} = {(held + temporary) / GB:.2f} GB "
            f"({device.device_kind}, {time.perf_counter() - started:.0f} s){f', held {most / 1e3:.2f} GB' if most else ''}",
            flush=True,
        )


if __name__ == "__main__":
    main()
