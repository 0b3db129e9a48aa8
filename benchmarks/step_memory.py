"""Print the memory that a training step of a recipe takes, according to its compiled program; needs no data.

    python benchmarks/step_memory.py --config=configs/m3d.py:mars --set=dtype=bfloat16 --set=model.remat=True

prints a line for each phase: parameters with optimizer state and batch, what the step holds in addition while it runs, and
their sum, in GB. The line is about the device at hand, since its compiler decides. `--topology=v5e:1x1x1` compiles for one
chip of a TPU without having one (libtpu, from the extra `tpu`, must be installed). Nothing is run, except with `--run`,
which takes one step on zeros: then the line ends with the peak memory of the process (Linux).
"""

import argparse
import functools
import os
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from backbones import resident
from jax.experimental import topologies

from vreid_jax import models
from vreid_jax.config import from_file, literal, set_field
from vreid_jax.config.run import parse_run
from vreid_jax.errors import InputError
from vreid_jax.experiment.phase_data import PhaseData
from vreid_jax.runtime import setup_process
from vreid_jax.runtime.dtype import compute_dtype
from vreid_jax.runtime.mesh import make_mesh
from vreid_jax.runtime.xla_flags import ONEDNN_FLAG
from vreid_jax.training.network import Network, normalisation
from vreid_jax.training.objective import memories
from vreid_jax.training.optimizers import make_optimizer
from vreid_jax.training.state import TrainState, split_params
from vreid_jax.training.step import make_train_step

GB = 1e9


def step_memory(config, name: str, identities: int, tracklets: int, device, run: bool) -> tuple[int, int, float]:
    """Return bytes of arguments and of temporaries of a phase's step compiled for `device`, and megabytes when run."""
    settings = parse_run(config)
    phase, entry = settings.phases[name], models.entry(settings.model)
    own = dict(settings.model_fields)
    if "dtype" in entry.fields:
        own["dtype"] = compute_dtype(settings.dtype)
    module = models.create(settings.model, num_classes=identities, **own)

    def clip(length: int):
        return jax.ShapeDtypeStruct((1, length, *settings.data.size, 3), jnp.float32)

    longest = max(other.clip.num_frames for other in settings.phases.values())
    variables = dict(jax.eval_shape(module.init, jax.random.key(0), clip(longest)))
    optimizer = make_optimizer(phase, 1000)

    def new_state(variables):
        apply = functools.partial(module.apply, train=False, **phase.apply)
        feature = jax.eval_shape(apply, variables, clip(phase.clip.num_frames))["feature"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimizer.init(split_params(variables["params"], phase.train)[0]),
            extra=memories(phase.losses, feature.shape[-1], identities, False, {}),
        )

    state = jax.eval_shape(new_state, variables)
    source = SimpleNamespace(num_frames=np.zeros(tracklets))
    batch, cache = PhaseData(phase, settings, None, source, None).abstract(module, variables)
    step = make_train_step(
        Network(module, **normalisation(settings.data, entry)),
        phase,
        optimizer,
        make_mesh([device]),
        seed=0,
        update=entry.update,
    )
    arguments = state.replace(extra={**state.extra, **cache}), batch
    program = step.lower(*arguments).compile()
    found = program.memory_analysis()
    return found.argument_size_in_bytes, found.temp_size_in_bytes, most_held(program, arguments) if run else 0.0


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
    parser.add_argument("--topology", default="", help="of a TPU to compile for, as v5e:1x1x1")
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
    if arguments.topology:
        # With oneDNN the layers would choose what suits this CPU.
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "").replace(f"{ONEDNN_FLAG}=true", "")
        device = topologies.get_topology_desc(platform="tpu", topology_name=arguments.topology).devices[0]
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
