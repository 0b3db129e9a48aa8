import contextlib
import dataclasses
import gc
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.training import checkpoints as checkpoints_module
from vreid_jax.training import digests
from vreid_jax.training.checkpoints import Checkpoints, Damaged, load_newest, load_variables
from vreid_jax.training.position import Position
from vreid_jax.training.state import TrainState

# Of the reads that Orbax begins together, the others fail when nobody waits for them any more.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
POSITION = Position("spatial", 3, 0, 1.5, ("temporal",))


def state(width=3, name="kernel"):
    return TrainState(
        step=jnp.int32(3),
        params={"head": {name: jnp.arange(2.0 * width).reshape(2, width)}},
        batch_stats={"norm": {"mean": jnp.full(3, 0.1)}},
        opt_state=({"trace": jnp.full(2, 1 / 3)},),
    )


def like(state):
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), state)


@pytest.fixture
def folder(tmp_path):
    """A workdir with the checkpoint 3."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(3, state(), POSITION)
    checkpoints.close()
    yield tmp_path
    gc.collect()  # reads that nobody waited for end here, where they are expected


def test_state_and_place_come_back_bit_for_bit(folder):
    checkpoints = Checkpoints(folder, keep=2)
    assert checkpoints.latest() == 3
    assert checkpoints.position(3) == POSITION
    restored = checkpoints.restore(3, like(state()))
    assert jax.tree.structure(restored) == jax.tree.structure(state())
    jax.tree.map(np.testing.assert_array_equal, restored, state())
    checkpoints.close()


def test_a_checkpoint_of_another_model_lists_both_sides(folder):
    checkpoints = Checkpoints(folder, keep=2)
    with pytest.raises(InputError, match="checkpoint 3 is of another model") as wider:
        checkpoints.restore(3, like(state(width=5)))
    assert "it has params/head/kernel (2, 3)" in str(wider.value)
    assert "this configuration has params/head/kernel (2, 5)" in str(wider.value)
    with pytest.raises(InputError) as renamed:
        checkpoints.restore(3, like(state(name="weight")))
    assert "it has params/head/kernel (2, 3); this configuration has params/head/weight (2, 3)" in str(renamed.value)
    checkpoints.close()


def damage_all(checkpoint, how=lambda path: path.write_bytes(b"")):
    for file in (checkpoint / "state").rglob("*"):
        if file.is_file() and file.name != "_METADATA":
            how(file)


@pytest.mark.parametrize("how", [lambda path: path.write_bytes(b""), lambda path: path.unlink()], ids=["empty", "gone"])
def test_a_damaged_checkpoint_is_named_with_what_to_do(folder, how):
    damage_all(folder / "checkpoints" / "3", how)
    with contextlib.closing(Checkpoints(folder, keep=2)) as checkpoints:
        with pytest.raises(Damaged, match=r"checkpoints/3 is damaged \(.*\)"):
            checkpoints.restore(3, like(state()))
        with pytest.raises(
            InputError, match=r"3 is damaged \(.*\), and there is no other: put a copy of it back, or train"
        ):
            checkpoints.newest(lambda step: checkpoints.restore(step, like(state())))
    with pytest.raises(InputError, match="checkpoints/3 is damaged"):
        load_variables(folder)


@pytest.fixture
def two(folder):
    """The folder with a second checkpoint, 4, whose kernel is twice that of 3."""
    with contextlib.closing(Checkpoints(folder, keep=2)) as checkpoints:
        checkpoints.save(4, jax.tree.map(lambda x: 2 * x, state()), dataclasses.replace(POSITION, phase_step=4))
    return folder


def test_training_goes_on_from_the_checkpoint_before_a_damaged_one_and_saves_that_step_again(two, caplog, tree):
    damage_all(two / "checkpoints" / "4")
    before = tree(two / "checkpoints" / "4")
    with contextlib.closing(Checkpoints(two, keep=2)) as checkpoints:
        restored, step = checkpoints.newest(lambda step: (checkpoints.restore(step, like(state())), step))
        assert step == 3
        jax.tree.map(np.testing.assert_array_equal, restored, state())
        assert "checkpoints/4 is damaged" in caplog.text
        assert "it is left out, and checkpoint 3 is taken in its place" in caplog.text
        assert checkpoints.latest() == 4  # reading alone changes nothing
        checkpoints.tidy_up()
        assert checkpoints.latest() == 3
        for step in (4, 5):
            checkpoints.save(step, state(), POSITION)
    assert sorted(path.name for path in (two / "checkpoints").iterdir()) == ["4", "4.damaged", "5"]
    assert tree(two / "checkpoints" / "4.damaged") == before
    assert load_newest(two)[0] == 5


def test_a_second_damaged_checkpoint_of_a_step_has_a_name_of_its_own(two):
    (two / "checkpoints" / "4.damaged").mkdir()
    (two / "checkpoints" / "4" / "place" / "metadata").write_text("{}")
    with contextlib.closing(Checkpoints(two, keep=2)) as checkpoints:
        assert checkpoints.newest(checkpoints.position) == POSITION
        checkpoints.tidy_up()
    assert sorted(path.name for path in (two / "checkpoints").iterdir()) == ["3", "4.damaged", "4.damaged2"]


def test_a_checkpoint_of_before_there_were_digests_is_read(folder):
    shutil.rmtree(folder / "checkpoints" / "3" / "digests")
    with contextlib.closing(Checkpoints(folder, keep=2)) as checkpoints:
        assert checkpoints.newest(checkpoints.position) == POSITION
        jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(3, like(state())), state())
    np.testing.assert_array_equal(load_variables(folder)["params"]["head"]["kernel"], [[0, 1, 2], [3, 4, 5]])


def test_a_file_that_may_not_be_read_is_not_damaged(two, monkeypatch):
    def refused(path):
        raise InputError(f"{path} cannot be read: Permission denied")

    (two / "checkpoints" / "4" / "place" / "metadata").write_text("{}")
    monkeypatch.setattr("vreid_jax.training.checkpoints.check_readable", refused)
    with contextlib.closing(Checkpoints(two, keep=2)) as checkpoints:
        with pytest.raises(InputError, match="Permission denied"):
            checkpoints.newest(checkpoints.position)
        checkpoints.tidy_up()
        assert checkpoints.latest() == 4


def flip_a_bit(content, rng):
    place = int(rng.integers(8 * len(content)))
    content[place // 8] ^= 1 << place % 8
    return content


def zero_64_bytes(content, rng):
    start = int(rng.integers(max(1, len(content) - 64)))
    return content[:start] + bytes(len(content[start : start + 64])) + content[start + 64 :]


def cut_off(content, rng):
    return content[: int(rng.integers(len(content)))]


DAMAGES = (flip_a_bit, zero_64_bytes, cut_off)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_no_damage_of_any_file_gives_other_arrays(two, seed):
    """What is loaded is checkpoint 4 or checkpoint 3, to the last bit, whatever happens to a file of 4."""
    saved = {step: load_state_of(two, step) for step in (3, 4)}
    rng, passed_over = np.random.default_rng(seed), 0
    files = [path for path in sorted((two / "checkpoints" / "4").rglob("*")) if path.is_file()]
    assert len(files) > 10
    for number, file in enumerate(files):
        content, damage = file.read_bytes(), DAMAGES[(number + seed) % len(DAMAGES)]
        file.write_bytes(damage(bytearray(content), rng))
        step, place, found = load_newest(two)
        file.write_bytes(content)
        jax.tree.map(np.testing.assert_array_equal, found, saved[step])
        assert place["phase"] == POSITION.phase
        passed_over += step == 3
    assert passed_over > 3


def load_state_of(folder, step):
    with contextlib.closing(Checkpoints(folder, keep=2)) as checkpoints:
        return jax.device_get(checkpoints_module._load(checkpoints._manager, step))


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["a pipe", "a device"])
def test_nothing_waits_for_what_is_not_a_file(two, put):
    for name in ("_METADATA", "_CHECKPOINT_METADATA"):
        for file in [path for path in (two / "checkpoints" / "4").rglob(name) if path.is_file()]:
            kept = file.read_bytes()
            file.unlink()
            put(file)
            with pytest.raises(InputError, match=f"{name} is not a regular file but a pipe or a device: remove it"):
                load_newest(two)
            file.unlink()
            file.write_bytes(kept)
    assert load_newest(two)[0] == 4


def test_what_cannot_be_written_is_one_sentence_and_keeps_what_is_there(folder, monkeypatch):
    with contextlib.closing(Checkpoints(folder, keep=2)) as checkpoints:
        with monkeypatch.context() as patch:
            full = ValueError("RESOURCE_EXHAUSTED: No space left on device")
            patch.setattr(checkpoints._manager, "save", lambda *_, **__: (_ for _ in ()).throw(full))
            with pytest.raises(
                OSError, match=r"No space left on device.*what was saved before is kept: make room there"
            ):
                checkpoints.save(4, state(), POSITION)
        assert checkpoints.latest() == 3


def test_a_digest_is_of_the_values_not_of_the_devices_they_lie_on():
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices())
    for spec in ((), ("data",)):
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
        assert digests.of_state({"a": jax.device_put(values, sharding)}) == digests.of_state({"a": values})
    # CRC-32 of four zero bytes, 2144df1c, is a known constant.
    assert digests.of_state({"a": {"b": np.zeros(1, np.float32)}}) == {"a/b": "float32[1] 2144df1c"}


def test_only_the_newest_are_kept_and_a_step_is_saved_once(folder):
    checkpoints = Checkpoints(folder, keep=2)
    for step in (3, 4, 5):
        checkpoints.save(step, state(), POSITION)
    checkpoints.wait()
    checkpoints.close()
    assert sorted(int(path.name) for path in (folder / "checkpoints").iterdir()) == [4, 5]


def test_a_checkpoint_that_a_killed_process_was_removing_is_removed(two):
    half = shutil.copytree(two / "checkpoints" / "3", two / "checkpoints" / "1")
    shutil.rmtree(half / "digests")
    with contextlib.closing(Checkpoints(two, keep=2)):
        assert half.exists()  # only the sole trainer may remove something
    with contextlib.closing(Checkpoints(two, keep=2, clean=True)) as checkpoints:
        assert half.exists()  # until one is read, it may be needed
        checkpoints.tidy_up()
        assert checkpoints.latest() == 4
    assert sorted(path.name for path in half.parent.iterdir()) == ["3", "4"]


def test_a_half_written_checkpoint_is_not_a_checkpoint(folder):
    half = folder / "checkpoints" / "9.orbax-checkpoint-tmp-1"
    (half / "state").mkdir(parents=True)
    checkpoints = Checkpoints(folder, keep=2)
    assert checkpoints.latest() == 3
    checkpoints.save(9, state(), POSITION)
    checkpoints.close()
    assert load_variables(folder)["params"]["head"]["kernel"].shape == (2, 3)


def test_variables_are_read_as_numpy_arrays(folder):
    variables = load_variables(folder)
    assert variables.keys() == {"params", "batch_stats"}
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], [[0, 1, 2], [3, 4, 5]])
    assert isinstance(variables["batch_stats"]["norm"]["mean"], np.ndarray)


def test_a_folder_without_checkpoints_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoints"):
        load_variables(tmp_path)
    Checkpoints(tmp_path, keep=1).close()
    with pytest.raises(InputError, match="holds no complete checkpoint"):
        load_variables(tmp_path)
