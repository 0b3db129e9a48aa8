"""Which devices a run uses, and what is copied to them."""

import jax
import numpy as np
import pytest

from vreid_jax.runtime import mesh as meshes


@pytest.mark.parametrize(
    ("sizes", "devices"), [((8,), 4), ((15,), 3), ((12, 15), 3), ((6, 8), 2), ((7,), 1), ((2, 3), 1)]
)
def test_batches_lie_on_as_many_devices_as_they_divide_over(sizes, devices):
    assert len(jax.devices()) == 4
    assert meshes.batch_mesh(sizes).size == devices


def test_each_of_two_processes_gives_as_many_devices(monkeypatch):
    class Device:
        def __init__(self, number, process):
            self.id, self.process_index = number, process

    devices = [Device(number, number // 4) for number in range(8)]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    one, chosen = meshes.make_mesh(jax.devices()[:1]), []
    monkeypatch.setattr(jax, "devices", lambda: devices)
    monkeypatch.setattr(meshes, "make_mesh", lambda given=None: chosen.append([d.id for d in given or devices]) or one)
    for size in (12, 7):
        meshes.batch_mesh([size])
    assert chosen == [[0, 1, 2, 4, 5, 6], list(range(8))]  # 7 is refused later, by the step


def test_what_is_on_every_device_is_not_copied_again():
    mesh, values = meshes.make_mesh(), {"a": np.arange(3.0), "b": np.ones((2, 2))}
    once = meshes.ensure_replicated(values, mesh)
    assert meshes.ensure_replicated(once, mesh)["a"] is once["a"]
    other = meshes.make_mesh(jax.devices()[:2])
    moved = meshes.ensure_replicated(once, other)
    assert moved["b"].sharding.mesh.size == 2
    np.testing.assert_array_equal(moved["a"], values["a"])
