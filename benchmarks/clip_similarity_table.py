"""Reproduce the clip-similarity paper's Table 2 and Figure 6 on the configured dataset.

    python benchmarks/clip_similarity_table.py --config=configs/clip_similarity.py:DATASET --out=runs/clip-table \
        --seeds=0,1,2 [--corrupt=0,3,5,7] [--te=20,50,70,100] [--steps=100]

For each seed I3D is trained once on clean clips, and the features of all training and test clips, clean and corrupted,
are extracted once; every row and M_max selects from them. Of the learned similarity it also measures the weight of pairs
with 0, 1 and 2 corrupted clips, relative to equal weights, over all pairs of a query and a gallery tracklet; without
corruption also the scores after re-ranking. Resumable: finished trainings and scores are read; those of another
configuration, or of another training of I3D than that which is there, are refused. Writes `table.md`, with the
paper's figures in brackets, `scores.json` and, with matplotlib (the extra `viz`), `curves.png`.
"""

import argparse
import dataclasses
import functools
import json
import runpy
import time
from pathlib import Path

import jax
import numpy as np
from clip_similarity_paper import paper
from walkers_runs import changed, check_run, digest, whole_numbers

from vreid_jax import data, evaluation
from vreid_jax.config import set_field
from vreid_jax.errors import InputError
from vreid_jax.evaluation.features import extract_stream
from vreid_jax.evaluation.pair_distances import pair_distances
from vreid_jax.experiment import train_and_evaluate
from vreid_jax.experiment.scoring import restore_variables
from vreid_jax.experiment.setup import Setup, make_setup
from vreid_jax.files import atomic_file
from vreid_jax.runtime import setup_process
from vreid_jax.runtime.exit_codes import exit_codes
from vreid_jax.training import digests
from vreid_jax.visualize.corruption_curves import corruption_curves

RATES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)  # t of topt-e
Score = dict[str, float]  # mAP and rank1; of the learned similarity also weight0, weight1 and weight2


def configure(arguments, changes: dict):
    """Return a configuration with these fields, in float32 on every device."""
    path, _, argument = arguments.config.partition(":")
    config = runpy.run_path(path)["get_config"](argument or None)
    for field, value in {"dtype": "float32", "evaluation.baselines": (), **changes}.items():
        set_field(config, field, value)
    return config


def trained(arguments, name: str, changes: dict) -> Setup:
    """Return the setup of the finished run `name`, training it first if necessary.

    Raises:
      InputError: when a run of that name is of another configuration.
    """
    workdir = arguments.out / name
    config = configure(arguments, changes)
    check_run(workdir, config)
    if not (workdir / "done").exists():
        print(f"{time.strftime('%H:%M:%S')} {workdir}", flush=True)
        train_and_evaluate(config, workdir, "train")
        (workdir / "done").write_text("")
    return make_setup(config, workdir)


def weights_of(setup: Setup) -> str:
    """Return 8 hexadecimal digits of the weights of a run's I3D."""
    variables, _ = restore_variables(setup)
    return digests.of_json(digests.of_state({kind: tree.get("features", {}) for kind, tree in variables.items()}))


def test_features(setup: Setup, folder: Path, weights: str) -> np.ndarray:
    """Return the features [2, N, M, D] of the test tracklets' clips, clean and corrupted, by an I3D of these weights.

    They are read from a file of `folder`, of whose name the weights and the configuration are a part, or written there.
    """
    stem = f"test-seed{setup.settings.seed}"
    file = folder / f"{stem}-{digest(setup.config, weights)}.npy"
    if (earlier := folder / f"{stem}.npy").exists():
        print(f"{earlier} does not say which run it is of, and is not read: it can be removed", flush=True)
    if not file.exists():
        variables, _ = restore_variables(setup)
        ((name, stream),) = setup.settings.evaluation.streams.items()
        tables = [
            extract_stream(
                setup.network,
                variables,
                setup.test.tracklets,
                stream,
                setup.extraction,
                name=name,
                corrupt_all=corrupted,
            )
            for corrupted in (False, True)
        ]
        with atomic_file(file) as half, half.open("wb") as out:
            np.save(out, np.stack(tables))
    return np.load(file)


def corrupted_clips(setup: Setup, num_clips: int, most: int) -> np.ndarray:
    """Return which clips [N, M] an extraction with `clip.corrupt` = `most` corrupts."""
    generators = (data.tracklet_generator(setup.settings.seed, name) for name in setup.test.tracklets.tracklet_ids)
    return np.stack([data.draw_corrupted(num_clips, most, generator) for generator in generators])


def percent(summary: dict) -> Score:
    """Return mAP and rank-1 of a summary, in percent."""
    return {"mAP": 100 * summary["mAP"], "rank1": 100 * summary["rank1"]}


def weights(setup: Setup, clips: np.ndarray, corrupted: np.ndarray) -> Score:
    """Return the mean weight of pairs of clips with 0, 1 and 2 corrupted ones; 1 is the weight that all pairs would share.

    The mean is over the pairs of clips of every query with every tracklet of another camera or identity.
    """
    variables, _ = restore_variables(setup)
    module, test = setup.network.module, setup.test
    importance = jax.jit(functools.partial(module.apply, method="importance"))
    clips = jax.device_put(clips)  # an argument: what a jitted function closes over is a constant of its program
    sums, counts = np.zeros(3), np.zeros(3)
    pids, camids = test.tracklets.pids, test.tracklets.camids
    for row in np.unique(test.query_rows).tolist():
        alpha = np.asarray(importance(variables, clips[row : row + 1], clips)[0], np.float64)
        share = alpha / alpha.mean((1, 2), keepdims=True)
        bad = corrupted[row][None, :, None].astype(int) + corrupted[:, None, :]
        others = (pids != pids[row]) | (camids != camids[row])
        for number in range(3):
            of_kind = (bad == number) & others[:, None, None]
            sums[number] += share[of_kind].sum()
            counts[number] += of_kind.sum()
    return {f"weight{number}": sums[number] / counts[number] for number in range(3) if counts[number]}


def score(setup: Setup, clips: np.ndarray, rerank: bool = False, **similarity) -> Score:
    """Return mAP and rank-1 of the dataset's first protocol, in percent."""
    settings = setup.settings.evaluation
    settings = dataclasses.replace(settings, similarity={**settings.similarity, **similarity})
    variables, _ = restore_variables(setup)
    module, method = setup.network.module, setup.system.similarity
    protocols = setup.protocols[:1]
    distances = pair_distances(module, variables, clips, settings, setup.mesh, method, "pairs", setup.test, protocols)
    return percent(evaluation.score(setup.test, distances, protocols, rerank)[protocols[0]])


def of_similarity(arguments, seed: int, most: int) -> dict:
    """Return the fields of a run that trains the similarity on the features of the seed's I3D."""
    changes = {
        "seed": seed,
        "data.feature_dir": str(arguments.out / "features"),
        "phase_order": ("similarity",),
        "init_from": str(arguments.out / f"features-seed{seed}"),
        "init_patterns": ("(features|classifier)/.*",),
        "phases.similarity.clip.corrupt": most,
    }
    if arguments.steps:
        changes |= {"phases.similarity.total_steps": arguments.steps, "phases.similarity.total_epochs": 0}
    return changes


def rows_of(arguments, seed: int, most: int, features: Setup, i3d: str, found: dict[str, Score]):
    """Score every row at one M_max, training what it needs; `found` is filled row by row.

    `i3d` is what `weights_of` says of `features`.

    Raises:
      InputError: when a run is of another configuration, or started from an I3D of other weights.
    """
    base = of_similarity(arguments, seed, most)
    tables = test_features(features, arguments.out, i3d)
    corrupted = corrupted_clips(features, tables.shape[2], most)
    clips = np.where(corrupted[:, :, None], tables[1], tables[0])  # as extracted with clip.corrupt = most

    def similarity(name: str, changes: dict) -> Setup:
        run = trained(arguments, name, base | changes)
        if weights_of(run) != i3d:
            raise InputError(
                f"{run.workdir} did not start from {features.workdir} as that is now: remove it, to train it again"
            )
        return run

    def add(row: str, run: Setup, **similarity) -> None:
        if row not in found:
            found[row] = score(run, clips, **similarity)

    add("average, no L2", features, kind="average", normalize=False)
    add("average", features, kind="average", normalize=True)
    yield
    for rate in (100, *(rate for rate in arguments.te if rate != 100)):
        if rate == 100 or f"topt-te {rate}" not in found:
            changes = {"phases.similarity.apply.kind": "top_t", "phases.similarity.apply.t": rate}
            run = similarity(f"topt{rate}-m{most}-seed{seed}", changes)
            if rate == 100:
                for t in RATES:
                    add(f"topt-e {t}", run, kind="top_t", t=t)
            if rate in arguments.te:
                add(f"topt-te {rate}", run, kind="top_t", t=rate)
            yield
    reranked = ["learned, re-ranked"] if most == 0 else []
    if not all(row in found for row in ("learned", *reranked)):
        run = similarity(f"learned-m{most}-seed{seed}", {})
        add("learned", run, kind="learned")
        found["learned"] |= weights(run, clips, corrupted)
        yield
        for row in reranked:
            add(row, run, rerank=True, kind="learned")
        yield


def table(scores: dict) -> str:
    """Return two Markdown tables, of mAP and of rank-1: a row per method, a column per M_max, mean ± deviation over seeds.

    In brackets are the paper's figures on MARS. The weights of pairs with corrupted clips follow.
    """
    levels = sorted({int(most) for seeds in scores.values() for most in seeds})
    rows = list(dict.fromkeys(row for seeds in scores.values() for found in seeds.values() for row in found))
    kinds = list(dict.fromkeys(row.split()[0] for row in rows))
    rows.sort(key=lambda row: (kinds.index(row.split()[0]), *(int(word) for word in row.split() if word.isdigit())))
    lines = []
    for what, title in (("mAP", "mAP"), ("rank1", "rank-1")):
        lines += [f"| {title}, M_max | {' | '.join(map(str, levels))} |", "|---" * (len(levels) + 1) + "|"]
        for row in rows:
            cells = []
            for most in levels:
                values = [found[str(most)][row][what] for found in scores.values() if row in found.get(str(most), {})]
                theirs = paper(row, most, what)
                cells.append(_mean(values, 1) + (f" ({theirs})" if theirs and values else ""))
            lines.append(f"| {row_name(row)} | {' | '.join(cells)} |")
        lines.append("")
    lines.append(f"| weight of pairs with | {' | '.join(f'M_max = {most}' for most in levels)} |")
    lines.append("|---" * (len(levels) + 1) + "|")
    for number in range(3):
        cells = []
        for most in levels:
            learned = [found.get(str(most), {}).get("learned", {}) for found in scores.values()]
            cells.append(_mean([each[f"weight{number}"] for each in learned if f"weight{number}" in each], 2))
        lines.append(f"| {number} corrupted clips | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read_scores(file: Path) -> dict:
    """Return `{"runs": {…}, "scores": {…}}`: of each run of I3D its weights and the configuration that was scored.

    Raises:
      InputError: for a file of before it said of which runs it is.
    """
    content = json.loads(file.read_text()) if file.exists() else {"runs": {}, "scores": {}}
    if content.keys() != {"runs", "scores"}:
        raise InputError(
            f"{file} does not say of which runs its scores are: use another folder, or remove the file, to score them again"
        )
    return content


def note_run(content: dict, file: Path, name: str, config, weights: str | None) -> None:
    """Note what the scores of a run are of; `InputError` where what `file` has of it is of something else.

    Without `weights`, for a run that is not there, those that it had are taken.
    """
    known = content["runs"].get(name)
    different = changed(known["config"], config) if known else []
    if known and weights and known["weights"] != weights:
        different.append(f"{name} has been trained again")
    if different:
        raise InputError(
            f"{file} has scores of something else: {'; '.join(different)}. Use another folder, or remove the file, to "
            "score the runs again"
        )
    if weights:
        content["runs"][name] = {"weights": weights, "config": json.loads(config.to_json())}


def write(file: Path, text: str) -> None:
    """Write a file in one piece."""
    with atomic_file(file) as half:
        half.write_text(text)


def row_name(row: str) -> str:
    """Return the name of a row in words."""
    kind, _, t = row.partition(" ")
    words = {"topt-e": f"top-t at evaluation, t = {t}", "topt-te": f"in training too, t = {t}"}
    words |= {"average": "average of normalised clips", "average, no L2": "average of clips"}
    return words.get(kind if t.isdigit() else row, row)


def _mean(values: list[float], digits: int) -> str:
    """Return the mean, of several values with their standard deviation."""
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def curves(scores: dict) -> tuple[dict, dict]:
    """Return the curves of the figure: rows against M_max (the best t of the top-t rules), and both rules against t."""
    mean: dict[str, dict[int, float]] = {}
    for most in sorted({int(most) for seeds in scores.values() for most in seeds}):
        found = [seeds[str(most)] for seeds in scores.values() if str(most) in seeds]
        for row in found[0]:
            values = [each[row]["mAP"] for each in found if row in each]
            mean.setdefault(row, {})[most] = float(np.mean(values))
    rows = {row: mean[row] for row in ("average", "learned") if row in mean}
    for kind in ("topt-e", "topt-te"):
        of_kind = [values for row, values in mean.items() if row.startswith(kind + " ")]
        if of_kind:
            levels = sorted(set().union(*of_kind))
            rows[f"best {kind}"] = {m: max(values[m] for values in of_kind if m in values) for m in levels}
    selections: dict[str, dict[int, dict[int, float]]] = {}
    for kind, title in (("topt-e", "at evaluation"), ("topt-te", "in training too")):
        rates = sorted(int(row.split()[1]) for row in mean if row.startswith(kind + " "))
        for rate in rates:
            for most, value in mean[f"{kind} {rate}"].items():
                selections.setdefault(title, {}).setdefault(most, {})[rate] = value
    return rows, selections


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the tables of this paper share."""
    parser.add_argument("--config", default=str(Path(__file__).parent.parent / "configs" / "clip_similarity.py"))
    parser.add_argument("--out", type=Path, default=Path("runs/clip-table"))
    parser.add_argument("--seeds", type=whole_numbers, default="0,1,2")
    parser.add_argument("--init-from", default="", help="weights that I3D starts from, e.g. of Kinetics")
    parser.add_argument("--feature-steps", type=int, default=0, help="of I3D; 0: as in the configuration")


def of_features(arguments, seed: int) -> dict:
    """Return the fields of a run that trains I3D alone."""
    changes = {"seed": seed, "phase_order": ("features",), "init_from": arguments.init_from}
    if arguments.feature_steps:
        changes |= {"phases.features.total_steps": arguments.feature_steps, "phases.features.total_epochs": 0}
    return changes


def main() -> None:
    """Train, score and write, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--corrupt", type=whole_numbers, default="0,1,2,3,4,5,6,7", help="the M_max of training and test"
    )
    parser.add_argument(
        "--te",
        type=lambda text: whole_numbers(text) if text else [],
        default="20,50,70,100",
        help="t of top-t in training too; empty: none",
    )
    parser.add_argument("--steps", type=int, default=0, help="of the second phase; 0: as in the configuration")
    arguments = parser.parse_args()
    setup_process()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "scores.json"
    content = read_scores(file)
    scores = content["scores"]
    for seed in arguments.seeds:
        name, fields = f"features-seed{seed}", of_features(arguments, seed)
        features = trained(arguments, name, fields)
        i3d = weights_of(features)
        note_run(content, file, name, configure(arguments, fields | of_similarity(arguments, seed, 0)), i3d)
        for most in arguments.corrupt:
            found = scores.setdefault(str(seed), {}).setdefault(str(most), {})
            for _ in rows_of(arguments, seed, most, features, i3d, found):
                write(file, json.dumps(content, indent=1) + "\n")
                write(arguments.out / "table.md", table(scores))
    print("\n" + table(scores))
    try:
        corruption_curves(*curves(scores), arguments.out / "curves.png")
    except InputError as error:
        print(error)


if __name__ == "__main__":
    with exit_codes("clip_similarity_table"):
        main()
