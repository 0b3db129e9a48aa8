import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.training.checkpoints import Checkpoints, load_variables
from vreid_jax.training.position import Position
from vreid_jax.training.state import TrainState

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
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(3, state(), POSITION)
    checkpoints.close()
    return tmp_path


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


# Of the reads that Orbax begins together, the others fail when nobody waits for them any more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_checkpoint_is_named_with_what_to_do(folder):
    for damage in (lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        checkpoints = Checkpoints(folder, keep=2)
        for file in (folder / "checkpoints" / "3" / "state").rglob("*"):
            if file.is_file() and file.name != "_METADATA":
                damage(file)
        with pytest.raises(InputError, match=r"checkpoints/3 cannot be read \(.*\): remove that folder, to go on from"):
            checkpoints.restore(3, like(state()))
        checkpoints.close()
        with pytest.raises(InputError, match="checkpoints/3 cannot be read"):
            load_variables(folder)


def test_only_the_newest_are_kept_and_a_step_is_saved_once(folder):
    checkpoints = Checkpoints(folder, keep=2)
    for step in (3, 4, 5):
        checkpoints.save(step, state(), POSITION)
    checkpoints.wait()
    checkpoints.close()
    assert sorted(int(path.name) for path in (folder / "checkpoints").iterdir()) == [4, 5]


def test_a_half_written_checkpoint_is_no_checkpoint(folder):
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
