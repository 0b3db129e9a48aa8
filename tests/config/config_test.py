import runpy
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from vreid_jax import config, data, models, retrieval
from vreid_jax.config import DATASETS, NUM_SPLITS, dataset_name, dataset_of, default_protocols
from vreid_jax.config.phases import Phase
from vreid_jax.config.run import parse_run
from vreid_jax.errors import InputError
from vreid_jax.runtime.dtype import compute_dtype
from vreid_jax.runtime.mesh import make_mesh
from vreid_jax.training.average import new_average
from vreid_jax.training.network import Network
from vreid_jax.training.objective import memories
from vreid_jax.training.optimizers import make_optimizer
from vreid_jax.training.state import TrainState, split_params
from vreid_jax.training.step import make_train_step

PAPER_SIZE = {"person_vlad": (180, 90), "two_stream_vgg": (224, 224)}
FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))


def get_config(file, argument=None):
    return runpy.run_path(str(file))["get_config"](argument)


def check_steps(config, num_classes):
    """Type-check one training step of every phase and the evaluation's streams; nothing is computed."""
    entry = models.entry(config.model.name)
    own = {name: value for name, value in config.model.items() if name != "name"}
    module = models.create(config.model.name, num_classes=num_classes, **own)
    length = max(phase.clip.length for phase in config.phases.values())

    def shape(count, length, dtype, apply=None):
        size = (config.data.height, config.data.width, models.channels_of(module, apply))
        return jax.ShapeDtypeStruct((count, length, *size), dtype)

    clips = shape(1, length, jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), clips)
    for name in config.phase_order:
        phase = Phase.parse(config.phases[name], f"config.phases.{name}")
        optimizer = make_optimizer(phase, 100)
        clips = shape(1, length, jnp.float32, phase.apply)

        def state(variables, phase=phase, optimizer=optimizer, clips=clips):
            trainable, _ = split_params(variables["params"], phase.train)
            start = jnp.zeros((), jnp.int32)
            outputs = jax.eval_shape(lambda v, x: module.apply(v, x, train=False, **phase.apply), variables, clips)
            extra = memories(phase.losses, outputs["feature"].shape[-1], num_classes, False, {})
            batch_stats = variables.get("batch_stats", {})
            if phase.optimizer.ema:
                extra["ema"] = new_average(trainable, batch_stats)
            return TrainState(start, variables["params"], batch_stats, optimizer.init(trainable), extra)

        batch = {
            "frames": shape(phase.batch_size, phase.clip.num_clips * phase.clip.length, jnp.uint8, phase.apply),
            "label": jax.ShapeDtypeStruct((phase.batch_size,), jnp.int32),
        }
        mesh = make_mesh(jax.devices()[:1])
        network = Network(module, entry.mean, entry.std)
        step = make_train_step(network, phase, optimizer, mesh, update=entry.update)
        before = jax.eval_shape(state, variables)
        after, metrics = step.eval_shape(0, before, batch)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), before)
        assert metrics["loss"].shape == ()
        assert metrics["loss"].dtype == jnp.float32
    for stream in config.evaluation.streams.values():
        apply = stream.apply.to_dict()
        clips = shape(2, stream.clip.length, jnp.float32, apply)
        outputs = jax.eval_shape(lambda v, x, apply=apply: module.apply(v, x, train=False, **apply), variables, clips)
        assert outputs["feature"].shape[0] == 2


def test_there_are_configurations():
    assert "m3d.py" in {file.name for file in FILES}


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_configuration_of_every_dataset_is_locked(file, dataset):
    config = get_config(file, dataset)
    assert config.is_locked
    assert all(phase.is_locked for phase in config.phases.values())
    assert (config.system, config.dataset) == (file.stem, dataset)
    assert dataset_of(config.data.name) == dataset
    assert config.data.name == DATASETS[dataset] or (file.stem, dataset) == ("m3d", "walkers")  # the demonstration
    assert set(config.phase_order) <= set(config.phases)
    with pytest.raises(AttributeError):
        config.data.hieght = 3
    ConfigDict(config).to_json()
    assert list(parse_run(config).phases) == list(config.phase_order)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_without_an_argument_the_dataset_is_walkers(file):
    assert get_config(file) == get_config(file, "walkers")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_on_mars_frames_have_the_size_of_the_paper(file):
    config = get_config(file, "mars")
    assert (config.data.height, config.data.width) == PAPER_SIZE.get(file.stem, (256, 128))


@pytest.mark.parametrize(
    ("dataset", "num_classes"), [("walkers", 256), pytest.param("mars", 625, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=pytest.mark.slow)
        if file.stem in ("clip_similarity", "m3d", "strong_baseline", "two_stream_vgg")
        else file
        for file in FILES
    ],
    ids=lambda file: file.stem,
)
def test_every_step_fits_together(file, dataset, num_classes):
    check_steps(get_config(file, dataset), num_classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "argument"),
    [
        ("two_stream_vgg", "mars,fusion=vlad"),
        ("m3d", "walkers,model.temporal=flow"),
        ("person_vlad", "walkers,phases.joint.clip.num_clips=3"),
    ],
)
def test_steps_of_other_rows_fit_together(system, argument):
    (file,) = (file for file in FILES if file.stem == system)
    check_steps(get_config(file, argument), 256)


def test_the_main_row_of_two_vgg_networks_is_the_fusion_that_is_named():
    (file,) = (file for file in FILES if file.stem == "two_stream_vgg")
    assert get_config(file).evaluation.headline == "product"
    assert set(get_config(file, "mars,fusion=vlad").evaluation.streams) == {"vlad"}
    for dataset in ("walkers", "mars"):
        config = get_config(file, f"{dataset},fusion=vlad")
        assert config.model.alpha == 30
        clipped = {name: phase.optimizer.clip_norm for name, phase in config.phases.items()}
        assert clipped == {"spatial": 0, "temporal": 0, "vlad": 1}
    with pytest.raises(InputError, match="fusion is 'sum'; it is one of max, average, product, scores, vlad"):
        get_config(file, "walkers,fusion=sum")
    with pytest.raises(InputError, match="headline is 'sum'; it is a stream, average, max"):
        parse_run(get_config(file, "walkers,evaluation.headline=sum"))


def test_the_streams_of_m3d_are_those_that_are_trained_and_evaluated():
    (file,) = (file for file in FILES if file.stem == "m3d")
    for streams, names in (("both", ("spatial", "temporal")), ("spatial", ("spatial",)), ("temporal", ("temporal",))):
        config = get_config(file, f"mars,streams={streams},clip_length=16")
        run = parse_run(config)
        assert tuple(run.phases) == tuple(run.evaluation.streams) == names
        assert {name: stream.clip.length for name, stream in run.evaluation.streams.items()} == {
            name: {"spatial": 1, "temporal": 16}[name] for name in names
        }
        assert run.init_patterns == (("spatial/.*",) if streams == "temporal" else (".*",))
    flow = parse_run(get_config(file, "mars,streams=temporal,model.temporal=flow"))
    assert flow.evaluation.streams["temporal"].clip.length == 1
    assert flow.phases["temporal"].sampler == "frames"
    for given in ("clip_length=16,model.temporal=flow", "model.temporal=flow,clip_length=8"):
        with pytest.raises(InputError, match=r"clip_length is \d+, which model.temporal=flow does not read"):
            get_config(file, f"mars,{given}")
    for scales in (2, "log2"):
        fields = parse_run(get_config(file, f"mars,model.temporal_scales={scales}")).model_fields
        assert fields["temporal_scales"] == scales
    with pytest.raises(InputError, match="streams is 'time'; it is one of both, spatial, temporal"):
        get_config(file, "walkers,streams=time")


def test_what_stands_behind_the_dataset_sets_fields():
    m3d = FILES[[file.stem for file in FILES].index("m3d")]
    given = "folder,path=/srv/people,bad_frames=skip,seed=3,data.mean=(0.4,0.5,0.6),phases.spatial.optimizer.learning_rate=1"
    config = get_config(m3d, given)
    assert config.data.mean == (0.4, 0.5, 0.6)
    assert (config.data.path, config.data.bad_frames, config.seed) == ("/srv/people", "skip", 3)
    assert config.phases.spatial.optimizer.learning_rate == 1.0


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("walker", "there is no dataset 'walker', did you mean 'walkers'"),
        ("walkers,seed=1,sede", "'sede' behind the configuration is not key=value"),
        ("walkers,seed", "'seed' behind the configuration is not key=value"),
        ("walkers,sede=1", r"there is no field config.sede; did you mean config.seed\?"),
        ("walkers,data.hieght=1", r"did you mean config.data.height\?"),
        ("walkers,learning_rat=1", r"did you mean config.phases.\w+.optimizer.learning_rate\?"),
        ("walkers,seed=three", "config.seed = 'three' is of the wrong type; its default is 0"),
    ],
)
def test_what_cannot_be_set_is_named(argument, words):
    with pytest.raises(InputError, match=words):
        get_config(FILES[[file.stem for file in FILES].index("m3d")], argument)


def test_a_phase_has_no_fields_but_its_own():
    with pytest.raises((KeyError, AttributeError), match="samplr"):
        config.phase(samplr="shuffle")
    with pytest.raises((KeyError, AttributeError), match="learning_rat"):
        config.phase(optimizer={"learning_rat": 0.1})


def test_the_compute_dtype(monkeypatch):
    assert compute_dtype("auto") == "float32"  # on the CPU of the tests
    assert compute_dtype("bfloat16") == "bfloat16"
    for capability, dtype in (
        ("6.1", "float32"),
        ("7.5", "float32"),
        ("8.0", "bfloat16"),
        ("12.0", "bfloat16"),
        ("gfx942", "float32"),
    ):
        monkeypatch.setattr(
            jax, "devices", lambda c=capability: [SimpleNamespace(platform="gpu", compute_capability=c)]
        )
        assert compute_dtype("auto") == dtype
        assert compute_dtype("auto", trains=True) == ("float16" if capability == "7.5" else dtype)
    with pytest.raises(InputError, match="dtype is 'half'"):
        compute_dtype("half")


@pytest.mark.parametrize(
    ("dataset", "split", "name"),
    [("mars", 0, "mars_video"), ("ilids_vid", 3, "ilids_vid/split_3"), ("prid2011", 9, "prid2011_video/split_9")],
)
def test_the_split_is_a_part_of_the_datasets_name(dataset, split, name):
    config = get_config(FILES[0], f"{dataset},split={split}")
    assert dataset_name(config) == name
    config.data.name = name
    assert dataset_name(config) == name


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("mars,split=1", "dataset mars has one split, 0"),
        ("ilids_vid,split=10", "splits 0 to 9"),
        ("ilids_vid,split=first", "splits 0 to 9"),
        (
            "ilids_vid,split=7,data.name=ilids_vid/split_3",
            "config.data.name is 'ilids_vid/split_3', and the split .* 7",
        ),
        ("ilids_vid,data.name=ilids_vid/split_3", "set data.name to 'ilids_vid', and split to the division"),
    ],
)
def test_a_split_that_is_not_there_is_said(argument, message):
    with pytest.raises(InputError, match=message):
        dataset_name(get_config(FILES[0], argument))


def test_the_numbers_of_splits_are_those_of_the_protocols():
    for dataset in DATASETS:
        protocol = retrieval.protocols.get(default_protocols(dataset)[0])
        assert NUM_SPLITS.get(dataset, 1) == protocol.num_splits


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_video_of_seventeen_people_is_enough_for_the_recipe_of_a_folder(file):
    """34 tracklets of 20 frames to train on, about what the sample video of the documentation has."""

    class Source:
        pids, camids, num_frames = np.repeat(np.arange(17), 2), np.tile([1, 2], 17), np.full(34, 20)

        def __len__(self):
            return 34

    for phase in parse_run(get_config(file, "folder,path=/srv/people")).phases.values():
        assert data.num_batches_per_epoch(Source(), phase) >= 1


def test_a_phase_of_before_a_field_was_there_means_what_it_meant():
    now = config.phase(total_steps=3, augment={"flip": 0.5})
    before = now.to_dict()
    before["augment"] = {"flip": 0.5, "enlarge_crop": 0.0}
    before["losses"] = {name: before["losses"][name] for name in ("softmax", "triplet", "clip_triplet", "oim")}
    del before["optimizer"]["ema"], before["optimizer"]["no_decay"]
    assert Phase.parse(before) == Phase.parse(now)
    del before["optimizer"]["name"]
    with pytest.raises(
        InputError, match=r"phase\.optimizer\.name is missing: the configuration was written by another"
    ):
        Phase.parse(before)
