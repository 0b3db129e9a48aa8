"""XLA's own convolutions and pools against other forms of the same sum, at the sizes of the papers' recipes."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from device_parts.measuring import CUBLAS, Compiled, Run, compile_all, median_ms
from vreid_jax.models.ops import depthwise, gpu, pool
from vreid_jax.models.ops.conv3d import clip_padding
from vreid_jax.models.ops.conv3d_gradients import native, pad

ONE = (1, 1, 1)
# name: (B T H W C), (kt kh kw), features, strides, dilation over time
CONVOLUTIONS = {
    "time, dilation 2": ((24, 8, 128, 64, 64), (3, 1, 1), 64, ONE, 2),
    "time": ((24, 8, 64, 32, 256), (3, 1, 1), 256, ONE, 1),
    "time, late, strided, dilation 2": ((24, 8, 32, 16, 512), (3, 1, 1), 512, (2, 1, 1), 2),
    "frames": ((128, 1, 64, 32, 64), (1, 3, 3), 64, ONE, 1),
    "frames of clips": ((24, 8, 32, 16, 128), (1, 3, 3), 128, ONE, 1),
    "frames, strided": ((128, 1, 64, 32, 128), (1, 3, 3), 128, (1, 2, 2), 1),
    "stem of frames": ((128, 1, 256, 128, 3), (1, 7, 7), 64, (1, 2, 2), 1),
    "clips of two": ((32, 2, 64, 32, 64), (3, 3, 3), 192, ONE, 1),
    "clips": ((15, 16, 45, 22, 128), (3, 3, 3), 256, ONE, 1),
}
DEPTHWISE = {"depthwise": (512, 1, 64, 32, 64), "depthwise, narrow": (512, 1, 64, 32, 16)}
POOLS = {
    "pool 1x3x3, stride 2": ((128, 1, 128, 64, 64), (1, 3, 3), (1, 2, 2)),
    "pool 3x3x3": ((32, 2, 32, 16, 256), (3, 3, 3), ONE),
}


def shrunk(size: tuple[int, ...]) -> tuple[int, ...]:
    """Return a size for a processor: few of everything but frames."""
    b, t, h, w, c = size
    return (min(b, 2), min(t, 6), min(h, 8), min(w, 4), min(c, 3))


def forms_of_convolution(geometry, giant: bool, taps) -> dict[str, dict]:
    """Return for each pass the forms of it, functions of (x, kernel, g)."""
    forms = {"native": native, "ours": gpu.convolution}
    if taps[0] > 1:
        forms["stacked"] = stacked
    if taps[0] > 1 and taps[1:] != (1, 1):
        del forms["ours"]  # it is the native one

    def gradient(f, number):
        return lambda x, kernel, g: jax.vjp(partial(f, **geometry), x, kernel)[1](g)[number]

    def products(x, kernel, g):
        by_taps = taps[1:] == (1, 1)
        return gpu.of_taps(x, g, taps[0], **geometry) if by_taps else gpu.of_planes(x, kernel, g, **geometry)

    if giant:
        return {
            "forward": {"native": lambda x, k, g: native(x, k, **geometry)},
            "to input": {"native": gradient(native, 0)},
            "to kernel": {"native": gradient(native, 1)},
        }
    passes = {
        "forward": {name: lambda x, k, g, f=f: f(x, k, **geometry) for name, f in forms.items()},
        "to input": {name: gradient(f, 0) for name, f in forms.items()},
        "to kernel": {name: gradient(f, 1) for name, f in forms.items()},
    }
    if taps[0] > 1:
        passes["to kernel"]["products"] = products
    if is_giant(geometry):
        for each in passes.values():
            each.pop("native")
    return passes


def stacked(x, kernel, strides, padding, dilation):
    """Convolve in 2-D: the frames that the taps over time read stand behind each other as channels."""
    x = pad(x, (padding[0], (0, 0), (0, 0)))
    length = (x.shape[1] - (len(kernel) - 1) * dilation[0] - 1) // strides[0] + 1
    shifts = range(0, len(kernel) * dilation[0], dilation[0])
    taps = [lax.slice_in_dim(x, s, s + (length - 1) * strides[0] + 1, strides[0], axis=1) for s in shifts]
    _, kh, kw, channels, features = kernel.shape
    kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(1, kh, kw, len(kernel) * channels, features)
    x = jnp.concatenate(taps, -1)
    if (kh, kw, *strides[1:]) == (1, 1, 1, 1):
        return lax.dot_general(x, kernel[0, 0, 0], (((4,), (0,)), ((), ())))
    return gpu.convolution(x, kernel, (1, *strides[1:]), ((0, 0), *padding[1:]), (1, *dilation[1:]))


def is_giant(geometry) -> bool:
    """Tell whether cuDNN may take longer than for all the rest: XLA makes filters as large as the output of it."""
    return max(geometry["dilation"]) > 1


def measure(run: Run, giant: bool = False) -> None:
    """Write a row for each pass of each case: milliseconds of every form, and how far their results are apart."""
    noise = np.random.default_rng(0).standard_normal(2**20 - 3, np.float32)  # repeated, to be quick

    def draw(*shape):
        return jnp.asarray(np.resize(noise / np.sqrt(shape[-1]), shape)).astype(jnp.bfloat16)

    jobs, inputs = {}, {}

    def add(case: str, passes, x, kernel, forward) -> None:
        g = jax.eval_shape(forward, x, kernel)
        inputs[case] = x, kernel, draw(*g.shape)
        for what, forms in passes.items():
            for name, form in forms.items():
                jobs[case, what, name] = lambda form=form: jax.jit(form).lower(*inputs[case])

    for case, (size, taps, features, strides, dilation) in CONVOLUTIONS.items():
        size, features = (shrunk(size), min(features, 3)) if run.smoke else (size, features)
        (_, *rest), time = clip_padding(*taps[:2]), taps[0] // 2 * dilation
        geometry = {"strides": strides, "padding": ((time, time), *rest), "dilation": (dilation, 1, 1)}
        if giant and not is_giant(geometry):
            continue
        with run.case(case):
            passes = forms_of_convolution(geometry, giant, taps)
            if size[-1] == 3 and not run.smoke:
                del passes["to input"]
            add(case, passes, draw(*size), draw(*taps, size[-1], features), partial(native, **geometry))
    if not giant:
        _add_others(run, add, draw)
    programs = compile_all(run, {" | ".join(key): job for key, job in jobs.items()}, on_gpu=CUBLAS)
    rows = dict.fromkeys((case, what) for case, what, _ in jobs)
    for case, what in rows:
        forms = {
            name: programs[" | ".join((case, what, name))]
            for each, other, name in jobs
            if (each, other) == (case, what) and " | ".join((case, what, name)) in programs
        }
        with run.case(f"{case} | {what}"):
            _write(run, case, what, forms, inputs[case])


def _add_others(run: Run, add, draw) -> None:
    """Add depthwise convolutions and pools."""
    for case, whole in DEPTHWISE.items():
        size = shrunk(whole) if run.smoke else whole
        with run.case(case):
            plain, shifted = depthwise._native, depthwise._shifted  # private: the two forms that it chooses from
            passes = {
                "forward": {"native": lambda x, k, g, f=plain: f(x, k), "products": lambda x, k, g, f=shifted: f(x, k)},
                "to input": {
                    "native": lambda x, k, g, f=plain: jax.vjp(f, x, k)[1](g)[0],
                    "products": lambda x, k, g, f=shifted: f(g, jnp.flip(k, (0, 1))),
                },
                "to kernel": {
                    "native": lambda x, k, g, f=plain: jax.vjp(f, x, k)[1](g)[1],
                    "products": lambda x, k, g: depthwise._kernel_gradient(x, g),
                    "shifted": lambda x, k, g, f=shifted: jax.vjp(f, x, k)[1](g)[1],
                },
            }
            add(case, passes, draw(*size), draw(3, 3, 1, size[-1]), plain)
    for case, (whole, window, strides) in POOLS.items():
        size = shrunk(whole) if run.smoke else whole
        plan = window, strides, clip_padding(window[0], window[1])
        with run.case(case):

            def plain(x, kernel, plan=plan):
                return pool._native(x, *plan)

            def to_input(x, kernel, g, plan=plan):
                return pool.without_scatter(x, *plan, g)

            passes = {
                "forward": {
                    "native": lambda x, k, g, f=plain: f(x, k),
                    "products": lambda x, k, g, plan=plan: pool._shifted(x, *plan)[-1],
                },
                "to input": {
                    "native": lambda x, k, g, f=plain: jax.vjp(f, x, k)[1](g)[0],
                    "products": to_input,
                },
            }
            add(case, passes, draw(*size), draw(1), plain)


def _write(run: Run, case: str, what: str, forms: dict[str, Compiled], arguments) -> None:
    """Measure the forms of a pass."""
    values, results = {}, []
    for name, compiled in forms.items():
        results.append(np.asarray(compiled.program(*arguments), np.float32))
        ms = median_ms(lambda c=compiled: c.program(*arguments), 0.02 if run.smoke else 0.15)
        values[name] = round(ms, 4)
    if results:
        apart = [np.abs(each - results[0]).max() / np.abs(results[0]).max() for each in results[1:]]
        values["apart"] = f"{max(apart):.1e}" if apart else ""
        run.write(f"{case}, {what}", size="x".join(map(str, arguments[0].shape)), **values)


def measure_giant(run: Run) -> None:
    """Write the native passes that may take longer than all the rest together."""
    measure(run, giant=True)
