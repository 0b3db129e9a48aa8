"""Every row of the tables on walkers is a configuration that exists."""

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vreid_jax import models
from vreid_jax.config.checks import check_patterns
from vreid_jax.config.run import parse_run
from vreid_jax.errors import InputError
from vreid_jax.pretrained.fitting import Tensor, fit

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_every_row_of_the_3d_resnet_is_a_configuration(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rows = importlib.import_module("nonlocal3d_table").ROWS
    runs = importlib.import_module("walkers_runs")
    for title, changes, *_ in rows.values():
        assert title
        models.create(num_classes=2, **runs.configuration("nonlocal3d", changes or {}).model)


def test_the_tables_of_the_3d_resnet_name_their_rows(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("nonlocal3d_table")
    named = {row for each in module.TABLES.values() for row in each.rows.split()}
    starts = {row.start for row in module.ROWS.values() if row.start}
    assert named | starts == set(module.ROWS)
    assert all(set(each.paper or ()) <= set(each.rows.split()) for each in module.TABLES.values())


def cells_of(text):
    """The lines of Markdown tables as lists of cells, by the heading above them."""
    found = {}
    for part in text.split("### ")[1:]:
        heading, *lines = part.splitlines()
        found[heading] = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:2] == "| "]
    return found


NONLOCAL_PAPER = {
    "2": {
        "average": "77.9 / 90.0 / 92.5, 69.0",
        "separable": "80.0 / 92.2 / 94.5, 72.6",
        "nonlocal": "84.3 / 94.6 / 96.2, 77.0",
    },
    "3": {
        "nonlocal": "ImageNet: 78.4 / 91.5 / 93.9, 69.8",
        "nonlocal-2d": "re-ID sets: 79.9 / 92.6 / 94.5, 71.3",
        "nonlocal-gaits": "Kinetics: 84.3 / 94.6 / 96.2, 77.0",
        **dict.fromkeys(("nonlocal-again", "average", "average-again"), ""),
    },
    "4": {"gaits": "", "gaits-small": "from MARS: PRID2011 91.2, iLIDS-VID 81.3"},
    "fig1": dict.fromkeys(("average", "attention", "rnn", "inflated")),
    "twins": dict.fromkeys(("twins-average", "twins-separable", "twins-nonlocal")),
}


@pytest.mark.parametrize(
    ("name", "control"), [("2", "jitter"), ("3", ""), ("4", ""), ("fig1", "jitter"), ("twins", "shuffled")]
)
def test_a_table_of_the_3d_resnet_has_these_rows_beside_these_figures_of_the_paper(name, control, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("nonlocal3d_table")
    expected = NONLOCAL_PAPER[name]
    controls = ("", control) if control else ("",)
    # mAP, rank-1, 5, 10, twins, seconds; another one in every row.
    found = {
        (row, each): {seed: (20.0 + i + 2 * seed, 30.0 + i, 60.0, 70.0, 50.0, 9.0 + 2 * seed) for seed in (0, 1)}
        for i, row in enumerate(expected)
        for each in controls
    }
    ((_, (head, *lines)),) = cells_of(module.tables(found, [name])).items()
    paper = None not in expected.values()
    ours = ["mAP", "rank-1", "rank-5", "rank-10", "twins", "training", "seeds"]
    assert head == ["row", *([module.TABLES[name].paper_title] if paper else []), *ours]
    assert lines == [
        [
            module.ROWS[row].title + (f", {each}" if each else ""),
            *(["" if each else expected[row]] if paper else []),
            f"{21 + i:.1f} ± 1.4",
            f"{30 + i:.1f} ± 0.0",
            *("60.0 ± 0.0", "70.0 ± 0.0", "50.0 ± 0.0", "10 s", "2"),
        ]
        for each in controls
        for i, row in enumerate(expected)
    ]


@pytest.mark.parametrize(("name", "heading"), [("2", "### Table 2: "), ("3", "### Table 3: "), ("4", "### Table 4: ")])
def test_the_page_of_the_3d_resnet_has_the_figures_of_the_paper_in_the_same_table(name, heading, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("nonlocal3d_table")
    page = (BENCHMARKS.parent / "docs" / "nonlocal3d.md").read_text()
    (section,) = [part for part in page.split("\n### ") if f"### {part}".startswith(heading)]
    for figures in module.TABLES[name].paper.values():
        for figure in figures.split(": ")[-1].split(", iLIDS-VID "):
            assert f"| {figure.removeprefix('PRID2011 ')} |" in section


def tiny_table(name, batches, data_dir, monkeypatch):
    """The module of a table and that of its runs, which are narrow, in small `batches` and on walkers/tiny."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module, runs = importlib.import_module(name), importlib.import_module("walkers_runs")
    made = runs.configuration
    small = {"data.name": "walkers/tiny", "data.data_dir": str(data_dir), "model.width": 4, "logging.progress": False}
    small |= batches
    monkeypatch.setattr(runs, "configuration", lambda system, changes, given: made(system, {**changes, **small}, given))
    monkeypatch.setattr(module, "setup_process", lambda: None)
    return module, runs


@pytest.mark.slow
def test_the_tables_of_the_3d_resnet_are_measured_and_go_on(monkeypatch, data_dir, tmp_path):
    batches = {"phases.clips.batch_size": 8, "phases.clips.identities_per_batch": 2}
    module, runs = tiny_table("nonlocal3d_table", batches, data_dir, monkeypatch)
    table = module.Table("Table 3", "nonlocal-2d average", ("shuffled",), {"nonlocal-2d": "79.9"})
    monkeypatch.setattr(module, "TABLES", {"3": table})

    def start(steps=2):
        words = ["nonlocal3d_table.py", f"--out={tmp_path}", "--seeds=3", "--tables=3", f"--steps={steps}"]
        monkeypatch.setattr("sys.argv", words)
        module.main()
        return cells_of((tmp_path / "table.md").read_text())["Table 3"]

    lines = start()
    ours, plain = module.ROWS["nonlocal-2d"].title, module.ROWS["average"].title
    assert [line[:2] for line in lines[1:]] == [
        [ours, "79.9"],
        [plain, ""],
        [f"{ours}, shuffled", ""],
        [f"{plain}, shuffled", ""],
    ]
    kept = json.loads((tmp_path / "nonlocal-2d-seed3.json").read_text())
    assert kept["step"] == 2
    assert kept["config"]["init_from"] == str(tmp_path / "average-seed3")

    # One result is lost: its run goes on from its checkpoint, and all others are read.
    (tmp_path / "nonlocal-2d-seed3.json").unlink()
    began = []
    again = runs.train_and_evaluate
    monkeypatch.setattr(runs, "train_and_evaluate", lambda *given: began.append(given[1].name) or again(*given))
    assert start() == lines
    assert began == ["nonlocal-2d-seed3"]

    with pytest.raises(InputError, match=r"phases\.clips\.total_steps was 2, is 3"):
        start(steps=3)


def test_the_rows_of_m3d_are_configurations_that_start_from_the_2d_stream(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module, runs = importlib.import_module("m3d_table"), importlib.import_module("walkers_runs")
    for name, row in module.ROWS.items():
        assert row.title
        config = runs.configuration("m3d", module.fields(Path("out"), name, 1, 7), module.argument_of(name))
        models.create(num_classes=2, **config.model)
        settings = parse_run(config)
        alone = name in ("2d", "2d-stride-2", "2d-full")
        assert tuple(settings.phases) == (("spatial",) if alone else ("temporal",))
        assert settings.init_from == ("" if alone else f"out/{'2d-full' if 'full' in name else '2d'}-seed1")
        assert {phase.total_steps for phase in settings.phases.values()} == {14 if name == "m3d-16-twice" else 7}
        assert set(settings.evaluation.streams) == {"spatial"} | (set() if alone else {"temporal"})
    usual, twice = (module.fields(Path("out"), name, 1) for name in ("m3d-16", "m3d-16-twice"))
    assert twice == {**usual, "phases.temporal.total_steps": 2000}
    assert runs.configuration("m3d", usual, module.argument_of("m3d-16")).phases.temporal.total_steps == 1000
    # Two rows of full size differ in how the temporal kernels start, and in nothing else.
    first, second = (
        runs.configuration("m3d", module.fields(Path("out"), name, 1), module.argument_of(name)).model
        for name in ("full-from-2d", "full-zero-sum")
    )
    differing = {field: (first[field], second[field]) for field in first if first[field] != second[field]}
    assert differing == {"m3d_init": ("random", "zero_sum"), "m3d_scale": (0.0, 1.0)}
    assert (first.width, first.stage_sizes) == (64, (3, 4, 6, 3))


def test_the_tables_of_m3d_show_every_seed_that_is_there(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("m3d_table")
    named = {row.removesuffix("+") for _, rows, _ in module.TABLES.values() for row in rows.split()}
    assert named == set(module.ROWS)

    def write(name, system, **streams):
        def of(score):
            return {"walkers": {"mAP": score / 100, "rank1": score / 200}}

        twins = {each: {"rank1": 0.5} for each in ("system", *streams)}
        found = {"protocols": of(system), "streams": {each: of(value) for each, value in streams.items()}}
        (tmp_path / f"{name}.json").write_text(json.dumps({**found, "twins": twins, "train_seconds": 9.0}))

    write("2d-seed0", 40)
    write("ral-seed0", 70, spatial=40, temporal=60)
    write("ral-seed12", 72, spatial=40, temporal=64)
    write("ral-seed0-shuffled", 42, spatial=40, temporal=30)
    text = module.tables(tmp_path)
    assert "| 2-D | 62.54 / 76.43 | 40.0 | 20.0 | 50.0 | 9 s | 1 |" in text
    assert "| M3D + RAL | 71.76 / 82.79 | 62.0 ± 2.8 | 31.0 ± 1.4 | 50.0 ± 0.0 | 9 s | 2 |" in text
    assert "| two streams: 2-D and M3D + RAL | 74.06 / 84.39 | 71.0 ± 1.4 | 35.5 ± 0.7 | 50.0 ± 0.0 | 9 s | 2 |" in text
    assert "| M3D + RAL, shuffled frames |  | 30.0 | 15.0 | 50.0 | 9 s | 1 |" in text
    assert "P3D" not in text
    assert text.count("### ") == 4  # Tables 1, 2 and 3, and the study


@pytest.mark.slow
def test_the_tables_of_m3d_are_measured_and_go_on(monkeypatch, data_dir, tmp_path):
    batches = {f"phases.{phase}.batch_size": 8 for phase in ("spatial", "temporal")}
    module, runs = tiny_table("m3d_table", batches, data_dir, monkeypatch)
    monkeypatch.setattr(module, "TABLES", {"2": ("Table 2", "2d m3d m3d+", ("shuffled",))})
    monkeypatch.setattr("sys.argv", ["m3d_table.py", f"--out={tmp_path}", "--seeds=3", "--tables=2", "--steps=2"])
    module.main()
    text = (tmp_path / "table.md").read_text()
    for title in ("2-D", "M3D", "two streams: 2-D and M3D"):
        assert f"| {title} |" in text
        assert f"| {title}, shuffled frames |" in text
    two_d, m3d = (json.loads((tmp_path / f"{name}-seed3.json").read_text()) for name in ("2d", "m3d"))
    assert two_d["protocols"] == m3d["streams"]["spatial"]  # the 2-D stream is the one that was trained once
    assert (two_d["step"], m3d["step"]) == (2, 2)

    monkeypatch.setattr(runs, "train_and_evaluate", lambda *_: pytest.fail("a finished cell was run again"))
    (tmp_path / "table.md").unlink()
    module.main()
    assert (tmp_path / "table.md").read_text() == text


@pytest.fixture
def vlad(monkeypatch):
    """The module of the table of PersonVLAD."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("person_vlad_table")


def test_every_row_of_person_vlad_is_a_configuration_that_a_table_shows(vlad, tmp_path):
    runs = vlad.Runs(tmp_path)
    for row in vlad.ROWS.values():
        config = runs.configuration(row, "walkers/jitter")
        models.create(num_classes=2, **config.model)
        assert config.data.name == (row.dataset or "walkers/jitter")
    named = {line.row for _, lines in vlad.TABLES.values() for line in lines}
    starts = {row.start for row in vlad.ROWS.values() if row.start}
    assert named | starts == set(vlad.ROWS)
    assert set(vlad.STUDY) - {"curves"} < set(vlad.TABLES)


def test_no_row_of_person_vlad_is_refused_for_where_it_starts(vlad, tmp_path):
    runs, brought = vlad.Runs(tmp_path), ("params/vlad/centres", "params/vlad/kernel")
    for row in vlad.ROWS.values():
        source = json.loads(runs.configuration(vlad.ROWS[row.start], "walkers/small").to_json()) if row.start else {}
        settings = parse_run(runs.configuration(row, "walkers/small"))
        module = models.create(settings.model, num_classes=2, **settings.model_fields)
        module.check_run(settings, brought if row.start == "other" else (), source)


@pytest.mark.parametrize("key", ["stripes", "grid", "gp", "average-softmax", "backbone-again"])
def test_every_phase_of_a_baseline_of_person_vlad_has_something_to_train(vlad, tmp_path, key):
    runs = vlad.Runs(tmp_path)
    config = runs.configuration(vlad.ROWS[key], "walkers/jitter")
    module = models.create(num_classes=2, **config.model)
    stream = {"stream": "c3d"} if config.phase_order == ("backbone",) else {}
    clips = jax.ShapeDtypeStruct((1, 8, 64, 32, 3), jnp.float32)
    params = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, **stream), clips)["params"]
    names = ["/".join(path) for path in flatten_dict(params)]
    for name in config.phase_order:
        check_patterns(parse_run(config).phases[name], names)


def test_runs_of_person_vlad_are_named_by_what_their_training_depends_on(vlad, tmp_path, monkeypatch):
    runs, small = vlad.Runs(tmp_path), "walkers/small"
    assert runs.name("default", small) == runs.name("vlad", small)
    names = {runs.name(key, small) for key in ("default", "b5", "gp", "tuned", "half-b6", "steps600")}
    assert len(names) == 6
    assert runs.name("other", small) == runs.name("other", "walkers/jitter") != runs.name("tuned", small)
    assert runs.name("default", small) != runs.name("default", "walkers/jitter")
    other = vlad.Runs(tmp_path, steps=7)
    assert other.name("default", small) != runs.name("default", small)
    assert other.name("backbone", small) == runs.name("backbone", small)
    # What a network without VLAD does not have does not rename it.
    monkeypatch.setitem(vlad.ROWS, "gp", vlad.Row({**vlad.ROWS["gp"].changes, "model.alpha": 3.0}))
    assert vlad.Runs(tmp_path).name("gp", small) == runs.name("gp", small)


def test_tables_of_person_vlad_show_what_is_there(vlad, tmp_path, monkeypatch):
    runs, small, protocol = vlad.Runs(tmp_path), "walkers/small", {"mAP": 0.5}
    for seed, rank1 in ((0, 0.4), (1, 0.44)):
        scores = {
            "protocols": {vlad.HEADLINE: {**protocol, "rank1": rank1, "rank5": 0.6, "rank10": 0.7, "rank20": 0.9}}
        }
        (tmp_path / f"{runs.name('grid', small)}-seed{seed}.json").write_text(json.dumps(scores))
    text = vlad.markdown(runs, ["3"], ["walkers/jitter", small], [0, 1, 2])
    assert "| grid | 67.1 / 86.0 / 89.5 / 94.0 | — | 42.0 ± 2.8 / 60.0 / 70.0 / 90.0, 50.0 ± 0.0 (2) |" in text
    assert "| stripe | 68.3 / 87.2 / 90.0 / 94.6 | — | — |" in text
    monkeypatch.setattr(runs, "curve", lambda *given, **more: [(100, 40.0 + given[1]), (200, 50.0)])
    lines = vlad.markdown(runs, ["curves"], [small], [0, 2])
    assert f"* {small}, sub-sampling 10, mAP after steps 100: 41.0 ± 1.4, 200: 50.0 ± 0.0" in lines
    study = vlad.markdown(runs, ["parts"], [small], [0])
    assert "| 5x5 grid | 40.0 / 60.0 / 70.0 / 90.0, 50.0 (1) |  |" in study


def test_the_page_of_person_vlad_has_the_figures_of_the_paper(vlad):
    page = (BENCHMARKS.parent / "docs" / "person_vlad.md").read_text()
    (section,) = [part for part in page.split("\n### ") if part.startswith("Table IX: ")]
    for line in vlad.TABLES["9"][1]:
        figures = line.paper.replace(" / –", "").replace("mAP ", "").split("; ")
        assert f"\n| {line.title} | {' | '.join(figures)} | " in section
    (section,) = [part for part in page.split("\n## ") if part.startswith("Frames per second")]
    for line in importlib.import_module("person_vlad_speed").LINES:
        (row,) = [each for each in section.splitlines() if each.startswith(f"| {line.title} |")]
        size, *_, speed, score = [cell.strip() for cell in row.strip("|").split("|")][1:]
        assert (size, speed, score) == (f"16x{line.size[0]}x{line.size[1]}", *line.paper)


@pytest.mark.parametrize("name", ["vgg", "vlad", "flow"])
def test_every_row_with_optical_flow_has_the_streams_that_it_is_read_from(name, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    table = importlib.import_module("two_stream_table")
    runs = importlib.import_module("walkers_runs")
    system, argument = table.ROWS[name]
    config = runs.configuration(system, {"seed": 1, **table.start(name, 1, Path("out"))}, argument)
    module = models.create(num_classes=2, **config.model)
    streams = config.evaluation.streams
    assert set(table.TITLES[name]) - {None} <= set(streams)
    assert "flow" in {models.inputs_of(module, stream.apply) for stream in streams.values()} or name == "vlad"
    assert set(table.PAPER) <= {title for titles in table.TITLES.values() for title in titles.values()}


def write_results(folder, name, score, *streams):
    """Write results of a run, of the system and of streams, whose mAP is `score` percent."""
    scores = {"walkers": {"mAP": score / 100, **dict.fromkeys(("rank1", "rank5", "rank10"), score / 200)}}
    twins = {each: {"rank1": 0.5} for each in ("system", *streams)}
    found = {"protocols": scores, "streams": dict.fromkeys(streams, scores), "twins": twins, "train_seconds": 9.0}
    (folder / f"{name}.json").write_text(json.dumps(found))


def test_a_call_for_another_seed_keeps_those_that_are_there(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def lines(name, row, control, flag, file):
        module = importlib.import_module(name)
        for seed in range(4):
            write_results(tmp_path, f"{row}-seed{seed}", 10.0 * seed)
            write_results(tmp_path, f"{row}-seed{seed}-{control}", 5.0)
        monkeypatch.setattr(module, "setup_process", lambda: None)
        monkeypatch.setattr("sys.argv", [f"{name}.py", f"--out={tmp_path}", "--seeds=3", flag])
        module.main()
        text = (tmp_path / file).read_text()
        (tmp_path / file).unlink()
        assert list(tmp_path.glob("*.md")) == []
        return text

    text = lines("two_stream_table", "vlad", "shuffled", "--rows=vlad", "two_stream.md")
    ours = "15.0 ± 12.9 | 7.5 ± 6.5 | 50.0 ± 0.0 | 9 s | 4"
    assert f"| VGG-16, VLAD of conv5_3 | rank-1 76.5 | {ours} |" in text
    assert "| VGG-16, VLAD of conv5_3, shuffled frames |  | 5.0 ± 0.0 |" in text
    table = importlib.import_module("nonlocal3d_table")
    monkeypatch.setattr(table, "TABLES", {"fig1": table.Table("Figure 1", "rnn", ("jitter",))})
    text = lines("nonlocal3d_table", "rnn", "jitter", "--tables=fig1", "table.md")
    assert "| ResNet-50, RNN | 15.0 ± 12.9 | 7.5 ± 6.5 | 7.5 ± 6.5 | 7.5 ± 6.5 | 50.0 ± 0.0 | 9 s | 4 |" in text
    assert "| ResNet-50, RNN, jitter | 5.0 ± 0.0 |" in text


def test_a_row_of_the_3d_resnet_fits_what_it_starts_from(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rows = importlib.import_module("nonlocal3d_table").ROWS
    runs = importlib.import_module("walkers_runs")

    def variables(name, num_classes):
        module = models.create(num_classes=num_classes, **runs.configuration("nonlocal3d", rows[name].changes).model)
        clip = jax.ShapeDtypeStruct((1, 8, 64, 32, 3), jnp.float32)
        return flatten_dict(jax.eval_shape(module.init, jax.random.key(0), clip))

    # The largest step of them: a 2-D network inflated into one with blocks.
    assert rows["nonlocal-2d"].start == "average"
    given = {
        path: Tensor("/".join(path), leaf.shape, np.broadcast_to(np.float32(0), leaf.shape))
        for path, leaf in variables("average", 96).items()
    }
    found = fit(given, variables("nonlocal-2d", 256))
    assert (found.unexplained, found.missing) == ([], [])
    assert set(found.left_out) == {"params/head/classifier/kernel", "params/head/classifier/bias"}
    assert ("params", "backbone", "conv1", "kernel") in found.values
