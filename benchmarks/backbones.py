"""Time every backbone here and in PyTorch eager: inference and training steps with the same, verified weights.

    python benchmarks/backbones.py [--models=resnet50,c3d] [--passes=inference,train] [--batch=1] [--repeats=5]
        [--threads=2] [--device=cpu|gpu] [--dtype=float32|bfloat16]
    python benchmarks/backbones.py --memory [--batch=4]

Clips of 8x256x128, for C3D of 16x180x90. A training step is forward and backward through the backbone, batch norms on
the statistics of the batch, a linear classifier of 625 with cross-entropy, and SGD with momentum. The two alternate
in one process; the table shows medians and, in brackets, the fastest and the slowest run. "compile" is the first
compilation of our program, without a cache. On a GPU PyTorch runs through `torch.compile`, channels last.

`--memory` prints the peak memory of two processes, one per library, during a training step of `resnet50_separable` with
five non-local blocks. The third step is measured, when everything is compiled.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

BLOCKS = {"non_local_after": {"res3": (1, 3), "res4": (1, 3, 5)}}
SUBSAMPLED = {"temporal_shortcut": "subsample", "temporal_pool": True}  # as the counterpart in PyTorch is
CASES = {
    "resnet50": ("resnet50", {}),
    "resnet50_m3d": ("resnet50_m3d", {}),
    "resnet50_m3d released": ("resnet50_m3d", {"released": True}),
    "resnet50_separable": ("resnet50_separable", SUBSAMPLED),
    "resnet50_separable non-local": ("resnet50_separable", {**SUBSAMPLED, **BLOCKS}),
    "resnet50_i3d": ("resnet50_i3d", {}),
    "resnet50_p3d_a": ("resnet50_p3d_a", {}),
    "resnet50_p3d_b": ("resnet50_p3d_b", {}),
    "resnet50_p3d_c": ("resnet50_p3d_c", {}),
    "resnet3d_50": ("resnet3d_50", {}),
    "i3d_inception_v1": ("i3d_inception_v1", {}),
    "c3d": ("c3d", {}),
}
CLASSES, RATE, MOMENTUM = 625, 1e-3, 0.9
TOLERANCE = {"float32": 2e-3, "bfloat16": 5e-2}


def clip_size(name: str) -> tuple[int, int, int]:
    """Return frames, height and width."""
    return (16, 180, 90) if name == "c3d" else (8, 256, 128)


def inputs(name: str, batch: int):
    """Return clips [B, T, H, W, 3], the same on every call, and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, *clip_size(name), 3)).astype(np.float32), rng.integers(0, CLASSES, batch)


class Torch:
    """The network, a classifier and an optimizer in PyTorch.

    With `exact` all is float64 and eager; with `shifted` above 0, a seed, each number of the clips is moved by about a
    unit in its last place.
    """

    def __init__(self, case: str, flags, *, exact: bool = False, shifted: int = 0):
        import numpy as np
        import torch
        from torch_reference import create

        self.torch, self.gpu = torch, flags.device == "gpu"
        torch.manual_seed(0)
        torch.set_num_threads(flags.threads)
        name, fields = CASES[case]
        network = create(name, **fields)
        for module in network.modules():  # blocks that start as the identity would hide what they compute
            if hasattr(module, "running_var") and not module.weight.any():
                torch.nn.init.uniform_(module.weight)
        self.state = {key: value.clone() for key, value in network.state_dict().items()}
        head = torch.nn.Linear(network.features, CLASSES)
        self.classifier = (head.weight.detach().clone(), head.bias.detach().clone())
        if exact:
            network, head = network.double(), head.double()
        self.dtype = torch.float64 if exact else getattr(torch, flags.dtype)
        self.device = torch.device("cuda" if self.gpu else "cpu")
        self.network, self.head = network.to(self.device), head.to(self.device)
        clips, labels = inputs(name, flags.batch)
        if shifted:
            clips *= np.random.default_rng(shifted).choice([1 - 2**-24, 1 + 2**-23], clips.shape).astype(np.float32)
        self.clips = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).contiguous().to(self.device)
        self.labels = torch.from_numpy(labels).to(self.device)
        self.apply = self.network
        if exact:
            self.clips = self.clips.double()
        elif self.gpu:
            self.network = self.network.to(memory_format=torch.channels_last_3d)
            self.clips = self.clips.to(memory_format=torch.channels_last_3d)
            self.apply = torch.compile(self.network)
        params = [*self.network.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(params, RATE, MOMENTUM)

    def autocast(self):
        """Return the dtype of the computation."""
        enabled = self.dtype not in (self.torch.float32, self.torch.float64)
        return self.torch.autocast(self.device.type, self.dtype, enabled=enabled)

    def inference(self):
        """Return pooled features."""
        self.network.eval()
        with self.torch.no_grad(), self.autocast():
            return self.apply(self.clips)

    def train(self):
        """Take one step and return the loss before it."""
        self.network.train()
        self.optimizer.zero_grad()
        with self.autocast():
            logits = self.head(self.apply(self.clips))
        logits = logits if self.dtype == self.torch.float64 else logits.float()
        loss = self.torch.nn.functional.cross_entropy(logits, self.labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def wait(self, _):
        """Wait until everything is computed."""
        if self.gpu:
            self.torch.cuda.synchronize()


class Ours:
    """The same with this library."""

    def __init__(self, case: str, flags, state, classifier):
        import jax
        import jax.numpy as jnp
        import optax

        from vreid_jax import models, pretrained
        from vreid_jax.training.step import LITTLE_MEMORY

        self.jax, self.seconds = jax, {}
        name, fields = CASES[case]
        module = models.create(name, **fields, dtype=flags.dtype)
        variables = pretrained.from_torch(name, state, **fields)
        weight, bias = (jnp.asarray(value.numpy()) for value in classifier)
        self.params = {"network": variables["params"], "weight": weight.T, "bias": bias}
        self.statistics = variables.get("batch_stats", {})
        clips, labels = inputs(name, flags.batch)
        self.clips, self.labels = jnp.asarray(clips), jnp.asarray(labels)
        optimizer = optax.sgd(RATE, MOMENTUM)
        self.slots = optimizer.init(self.params)

        def pooled(params, statistics, clips):
            return module.apply({"params": params["network"], "batch_stats": statistics}, clips)["pooled"]

        def loss(params, statistics, clips, labels):
            variables = {"params": params["network"], "batch_stats": statistics}
            outputs, changed = module.apply(variables, clips, train=True, mutable=["batch_stats"])
            features = outputs["pooled"].reshape(len(labels), -1, params["weight"].shape[0]).mean(1)
            logits = features @ params["weight"] + params["bias"]
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), changed.get("batch_stats", {})

        def step(params, statistics, slots, clips, labels):
            (value, statistics), grads = jax.value_and_grad(loss, has_aux=True)(params, statistics, clips, labels)
            updates, slots = optimizer.update(grads, slots)
            return optax.apply_updates(params, updates), statistics, slots, value

        self._pooled = jax.jit(pooled)
        options = LITTLE_MEMORY if flags.device == "cpu" else None  # as `make_train_step` has it
        self._step = jax.jit(step, donate_argnums=(0, 1, 2), compiler_options=options)

    def compile(self, what: str) -> None:
        """Compile a pass and record the seconds of tracing and of XLA."""
        started = time.perf_counter()
        if what == "inference":
            lowered = self._pooled.lower(self.params, self.statistics, self.clips)
        else:
            lowered = self._step.lower(self.params, self.statistics, self.slots, self.clips, self.labels)
        traced = time.perf_counter()
        setattr(self, f"program_{what}", lowered.compile())
        self.seconds[what] = (traced - started, time.perf_counter() - traced)

    def inference(self):
        """Return pooled features [B, C], averaged over frames for a 2-D network."""
        pooled = self.program_inference(self.params, self.statistics, self.clips)
        return pooled.mean(1) if pooled.ndim == 3 else pooled

    def train(self):
        """Take one step and return the loss before it."""
        self.params, self.statistics, self.slots, loss = self.program_train(
            self.params, self.statistics, self.slots, self.clips, self.labels
        )
        return loss

    def wait(self, result):
        """Wait until everything is computed."""
        self.jax.block_until_ready((result, self.params))


def check_equal(case: str, what: str, ours: Ours, theirs: Torch, flags) -> None:
    """Stop unless features, or the losses of two steps, agree.

    The second loss depends on gradients, and for some networks mostly on rounding: batch norms of two values, such as
    those of M3D's attention on two clips, are steep steps between -1 and 1. PyTorch's second loss in float32 was 1.1e-2
    from its own in float64 there, and 8e-4 and 2.0e-2 on clips that were rounded differently. So it is compared with the
    one in float64, and may be five times as far from it as features may, or three times as far as the farthest of
    PyTorch's own, on these clips and on two that are rounded differently.
    """
    import numpy as np

    def error(found, expected) -> float:
        found, expected = (np.asarray(value, np.float64) for value in (found, expected))
        return float(np.abs(found - expected).max() / np.abs(expected).max())

    def stop_if(turn: int, found: float, allowed: float) -> None:
        if not found < allowed:
            raise SystemExit(f"{case}, {what}: result {turn} differs from PyTorch's by {found:.1e}")

    def of_torch(side: Torch) -> list[float]:
        return [float(side.train().detach()) for _ in range(2)]

    allowed = TOLERANCE[flags.dtype]
    if what == "inference":
        stop_if(0, error(ours.inference(), theirs.inference().detach().float().cpu().numpy()), allowed)
        return
    found = [float(ours.train()) for _ in range(2)]
    stop_if(0, error(found[0], of_torch(theirs)[0]), allowed)
    exact = of_torch(Torch(case, flags, exact=True))[1]
    own = [error(of_torch(Torch(case, flags, shifted=shifted))[1], exact) for shifted in range(3)]
    stop_if(1, error(found[1], exact), max(5 * allowed, *(3 * each for each in own)))


def measure(case: str, flags) -> None:
    """Return one row for each pass."""
    theirs = Torch(case, flags)
    ours = Ours(case, flags, theirs.state, theirs.classifier)
    for what in flags.passes.split(","):
        ours.compile(what)
        check_equal(case, what, ours, theirs, flags)
        seconds, processor = {ours: [], theirs: []}, {ours: [], theirs: []}
        for _ in range(flags.repeats):
            for side, times in seconds.items():
                time.sleep(0.02)  # the other side's threads stop spinning
                started, used = time.perf_counter(), time.process_time()
                side.wait(getattr(side, what)())
                times.append(time.perf_counter() - started)
                processor[side].append(time.process_time() - used)
        cells = [case, what]
        for times in seconds.values():
            rates = sorted(flags.batch / t for t in times)
            cells.append(f"{statistics.median(rates):.2f} ({rates[-1]:.2f}, {rates[0]:.2f})")
        mine, other = seconds[ours], seconds[theirs]
        cells.append(f"{statistics.median(other) / statistics.median(mine):.2f}")
        cells.append(f"{min(other) / min(mine):.2f}")
        mine, other = (min(processor[side]) for side in (ours, theirs))
        cells.append(f"{other / mine:.2f} ({mine:.2f}, {other:.2f})")
        trace, xla = ours.seconds[what]
        print(f"| {' | '.join(cells)} | {trace:.0f} + {xla:.0f} |", flush=True)


def resident() -> dict[str, float]:
    """Return the resident memory of this process and its peak, in megabytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(lines[name].split()[0]) / 1024 for key, name in (("now", "VmRSS"), ("most", "VmHWM"))}


def measure_memory(flags) -> None:
    """Print the peak memory of this process, which runs one library, in the third step."""
    theirs = Torch("resnet50_separable non-local", flags)
    side = theirs
    if flags.side == "ours":
        side = Ours("resnet50_separable non-local", flags, theirs.state, theirs.classifier)
        theirs.network = theirs.head = theirs.apply = theirs.optimizer = theirs.clips = None
        side.compile("train")
    for _ in range(2):
        side.wait(side.train())
    Path("/proc/self/clear_refs").write_text("5")  # forgets the most it has held
    side.wait(side.train())
    print(f"{resident()['most']:.0f}")


def compare_memory(flags) -> None:
    """Measure each library in its own process and print the ratio."""
    found = {}
    for side in ("ours", "torch"):
        command = [sys.executable, __file__, "--memory", f"--side={side}", f"--batch={flags.batch}"]
        found[side] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"resnet50_separable, five non-local blocks, batch {flags.batch}, most memory held in a training step:")
    print(f"ours {found['ours']:.0f} MB, PyTorch {found['torch']:.0f} MB, ratio {found['ours'] / found['torch']:.2f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(CASES))
    parser.add_argument("--passes", default="inference,train")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "gpu"))
    parser.add_argument("--dtype", default="float32", choices=tuple(TOLERANCE))
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    # Before either library counts the cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: flags.threads])
    if flags.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    from vreid_jax.runtime import setup_process

    setup_process(compilation_cache=False)
    if flags.memory:
        (measure_memory if flags.side else compare_memory)(flags)
        return
    import jax
    import torch

    from vreid_jax.models.ops.onednn import has_onednn

    device = f"{jax.devices()[0].device_kind}, oneDNN: {has_onednn()}"
    print(f"jax {jax.__version__}, torch {torch.__version__}, {device}, {flags.dtype}, ", end="")
    print(f"{flags.threads} threads, {flags.batch} clips a batch; clips a second\n")
    print("| network | pass | ours | PyTorch | ratio | of the fastest | of processor s | compile, s: trace + XLA |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for case in flags.models.split(","):
        measure(case, flags)


if __name__ == "__main__":
    main()
