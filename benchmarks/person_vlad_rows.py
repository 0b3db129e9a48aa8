"""The rows of the PersonVLAD tables on walkers, and the paper's figures beside them; `person_vlad_table.py` runs them."""

from typing import Any, NamedTuple

HEADLINE = "tracklets_random_all"
SOFTMAX = "walkers,loss=softmax"
HALF = {"data.validation": 0.5}
OTHER = "walkers/gaits"
FULLY_CONNECTED = {"model.descriptors": "parts"}


class Row(NamedTuple):
    """What is trained.

    Attributes:
      changes: the fields in which it differs from `configs/person_vlad.py`.
      start: the row whose run of the same seed it starts from.
      argument: of the configuration.
      dataset: what it is trained on, where that is not the dataset of the table's column.
    """

    changes: dict[str, Any]
    start: str = "backbone"
    argument: str = "walkers"
    dataset: str = ""


class Line(NamedTuple):
    """A line of a table: what it is called, the row that it is of, and how that is scored.

    Attributes:
      title: what it is called.
      row: of `ROWS`.
      paper: ranks of the paper on MARS, or on the dataset that the title names.
      protocol: whose ranks it shows.
      control: "xqda", scored by that metric; "transfer", scored on the column's dataset; "" as trained.
    """

    title: str
    row: str = "default"
    paper: str = ""
    protocol: str = HEADLINE
    control: str = ""


BACKBONE = {"phase_order": ("backbone",), "evaluation.streams.clips.apply.stream": "c3d"}
ROWS = {
    "backbone": Row(BACKBONE, start=""),
    "default": Row({}),
    "backbone-again": Row(BACKBONE),
    # The paper's baselines have two fully connected layers behind the pooling; the linear one, of `locations`, is the
    # default's, so that only the pooling differs.
    "gp": Row({"model.parts": "global", **FULLY_CONNECTED}),
    "gp-linear": Row({"model.parts": "global"}),
    **{f"{pooling}-fc": Row({"model.aggregation": pooling, **FULLY_CONNECTED}) for pooling in ("average", "max")},
    "stripes": Row({"model.parts": "stripes"}),
    "grid": Row({"model.parts": "grid"}),
    **{f"b{count}": Row({"model.num_parts": count}) for count in (5, 25)},
    **{
        f"alpha{alpha}-b{count}": Row({"model.alpha": float(alpha), "model.num_parts": count})
        for count in (6, 1)
        for alpha in (10, 30, 100, 1000)
    },
    "kmeans-joint": Row({"model.kmeans_before": "joint"}),
    "kmeans-parts": Row({"model.kmeans_before": "parts"}),
    "kmeans-never": Row({"model.kmeans_before": ""}),
    "clips1": Row({"phases.joint.clip.num_clips": 1, "phases.joint.batch_size": 30}),
    "clips1-small": Row({"phases.joint.clip.num_clips": 1, "phases.joint.batch_size": 10}),
    "clips3": Row({"phases.joint.clip.num_clips": 3, "phases.joint.batch_size": 10}),
    "tracklet": Row({"model.aggregate_over": "tracklet"}),
    "hard": Row({"model.assignment": "hard"}),
    **{
        f"{pooling}{loss}": Row({"model.aggregation": pooling, **norm}, argument=argument)
        for pooling in ("vlad", "average", "max")
        for loss, argument, norm in (
            ("", "walkers", {}),
            ("-softmax", SOFTMAX, {"model.classifier_norm": True}),
            ("-softmax-plain", SOFTMAX, {"model.classifier_norm": False}),
        )
    },
    **{
        f"{descriptors}-{layer}": Row({"model.descriptors": descriptors, "model.part_layer": layer})
        for descriptors in ("parts", "locations", "cubic")
        for layer in ("conv5b", "conv4b")
    },
    **{f"steps{steps}": Row({"phases.joint.total_steps": steps}) for steps in (200, 600, 1200)},
    # Half of the training people, validated on the others.
    "half-backbone": Row({**BACKBONE, **HALF}, start=""),
    **{f"half-b{count}": Row({"model.num_parts": count, **HALF}, "half-backbone") for count in (1, 2, 4, 6, 8)},
    # People of walkers/gaits wear what training people of the other sizes wear, never what their test people do.
    "other-backbone": Row(BACKBONE, start="", dataset=OTHER),
    "other": Row({}, "other-backbone", dataset=OTHER),
    "tuned": Row({"phase_order": ("joint",)}, "other"),
}
_BEST = "80.8 / 94.5 / 96.9 / 99.0"
_LOSSES = {"": "OIM", "-softmax": "softmax behind batch norm", "-softmax-plain": "softmax"}
TABLES: dict[str, tuple[str, list[Line]]] = {
    "alpha": (
        "Study: α and the number of parts",
        [
            Line(f"α = {alpha}, B = {count}", f"alpha{alpha}-b{count}")
            for count in (6, 1)
            for alpha in (10, 30, 100, 1000)
        ],
    ),
    "descriptors": (
        "Study: what is summed",
        [
            Line(f"{descriptors} of {layer}", f"{descriptors}-{layer}")
            for descriptors in ("parts", "locations", "cubic")
            for layer in ("conv5b", "conv4b")
        ],
    ),
    "kmeans": (
        "Study: when k-means sets the centres",
        [
            Line("before the joint phase", "kmeans-joint"),
            Line("before the parts are trained", "kmeans-parts"),
            Line("never", "kmeans-never"),
        ],
    ),
    "parts": (
        "Study: learned parts against fixed ones, as many of each",
        [
            Line("learned, B = 5", "b5"),
            Line("5 stripes", "stripes"),
            Line("learned, B = 25", "b25"),
            Line("5x5 grid", "grid"),
            Line("the whole map (3D ConvNets+GP)", "gp"),
            Line("the whole map, one linear layer", "gp-linear"),
        ],
    ),
    "pooling": (
        "Study: aggregation and loss",
        [
            *(
                Line(f"{pooling}, {name}", f"{pooling}{loss}")
                for pooling in ("vlad", "average", "max")
                for loss, name in _LOSSES.items()
            ),
            Line("average, OIM, two fully connected layers", "average-fc"),
            Line("max, OIM, two fully connected layers", "max-fc"),
            Line("C3D, as many steps again", "backbone-again"),
        ],
    ),
    "steps": (
        "Study: steps of the joint phase",
        [Line(f"{steps} steps", f"steps{steps}") for steps in (200, 600, 1200)],
    ),
    "clips": (
        "Study: a tracklet as one sum",
        [
            Line("one clip in training, tested clip by clip", "clips1"),
            Line("one clip in training, batches of 10", "clips1-small"),
            Line("three clips in training, batches of 10", "clips3"),
            Line("one clip in training, tested as one sum", "tracklet"),
            Line("hard assignment", "hard"),
        ],
    ),
    "2": (
        "Table II: tracklets of probe and gallery",
        [
            Line("probe random, gallery random", paper="74.1", protocol="tracklets_random_random"),
            Line("probe all, gallery random", paper="71.7", protocol="tracklets_all_random"),
            Line("probe random, gallery all", paper="80.8"),
            Line("probe all, gallery all", paper="80.2", protocol="tracklets_all_all"),
        ],
    ),
    "3": (
        "Table III: parts",
        [
            Line("stripe", "stripes", "68.3 / 87.2 / 90.0 / 94.6"),
            Line("grid", "grid", "67.1 / 86.0 / 89.5 / 94.0"),
            Line("3D ConvNets+GP", "gp", "74.8 / 90.6 / 92.9 / 95.1"),
            Line("PersonVLAD, B = 6", paper=_BEST),
        ],
    ),
    "4": (
        "Table IV: number of parts, one half of the training people validated on the other",
        [
            Line("1", "half-b1", "74.7 / 91.8 / 94.3 / 96.4"),
            Line("2", "half-b2", "76.4 / 92.2 / 94.3 / 97.2"),
            Line("4", "half-b4", "77.8 / 92.4 / 95.5 / 98.7"),
            Line("6", "half-b6", _BEST),
            Line("8", "half-b8", "78.8 / 91.9 / 95.7 / 98.2"),
        ],
    ),
    "5": (
        "Table V: motion features",
        [Line("C3D", "backbone", "58.9 / 81.0 / – / 93.7"), Line("PersonVLAD", paper="80.8 / 94.5 / – / 99.0")],
    ),
    "6": (
        "Table VI: from one dataset to another (paper: MARS to iLIDS-VID, PRID2011)",
        [
            Line(
                "walkers/gaits, not tuned",
                "other",
                "56.3 / 78.2 / – / 93.7; 71.7 / 85.6 / – / 94.1",
                control="transfer",
            ),
            Line("walkers/gaits, fine-tuned", "tuned", "69.4 / 87.6 / – / 99.2; 87.6 / 96.1 / – / 98.7"),
        ],
    ),
    "8": (
        "Table VIII: 3-D networks (paper: iLIDS-VID, PRID2011, MARS)",
        [Line("C3D", "backbone", "60.4; 73.8; 58.9"), Line("PersonVLAD", paper="69.4; 87.6; 80.8")],
    ),
    "9": (
        "Table IX: with a learned metric (paper: iLIDS-VID, PRID2011, MARS)",
        [
            Line(
                "PersonVLAD",
                paper="69.4 / 87.6 / 96.7 / 99.2; 87.6 / 96.1 / 98.7 / 99.8; 80.8 / 94.5 / – / 99.0, mAP 63.4",
            ),
            Line(
                "PersonVLAD + XQDA",
                paper="70.7 / 88.2 / 97.1 / 99.2; 88.0 / 96.2 / 98.6 / 99.7; 82.8 / 94.9 / – / 99.0, mAP 64.7",
                control="xqda",
            ),
        ],
    ),
}
STUDY = ("alpha", "descriptors", "kmeans", "parts", "pooling", "clips", "steps", "curves")
SUBSAMPLES = {10: "10", 100: "100", 0: "all"}
PIECES = 6
STEPS = 600  # of a curve
