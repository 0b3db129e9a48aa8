"""Plot how retrieval degrades as clips are corrupted: Figure 6 of the clip-similarity paper, and mAP against M_max."""

from collections.abc import Mapping
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file

Scores = Mapping[str, Mapping[int, float]]  # row -> M_max -> mAP in percent
Selection = Mapping[int, Mapping[int, float]]  # M_max -> t -> mAP in percent


def corruption_curves(rows: Scores, selections: Mapping[str, Selection], out: str | Path) -> None:
    """Write a picture: mAP against M_max, then for each of `selections` mAP against the selection rate t (Fig. 6).

    Args:
      rows: mAP in percent by M_max, of each line of the first panel.
      selections: by the title of a panel, mAP in percent by t, for each M_max.
      out: file to write; its suffix says which format.

    Raises:
      InputError: when matplotlib is not installed or the file cannot be written.
    """
    try:
        import matplotlib  # pyright: ignore[reportMissingImports] # of the extra `viz`
    except ImportError as error:
        raise InputError(f"drawing {out} needs matplotlib: python3 -m pip install 'vreid_jax[viz]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    count = 1 + len(selections)
    figure, panels = pyplot.subplots(1, count, figsize=(5 * count, 3.8), squeeze=False)
    left, *others = panels[0]
    for name, scores in rows.items():
        left.plot(list(scores), list(scores.values()), marker="o", label=name)
    left.set(xlabel="M_max, most corrupted clips of a tracklet", ylabel="mAP (%)")
    left.legend(fontsize="small")
    for axes, (title, selection) in zip(others, selections.items(), strict=True):
        for most, scores in selection.items():
            axes.plot(list(scores), list(scores.values()), marker="o", label=f"{most}")
        axes.set(xlabel=f"selection rate t (%), {title}", xlim=(5, 105), ylabel="mAP (%)")
    if others:
        others[-1].legend(
            title="M_max", fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5)
        )  # covers no curve
    for axes in (left, *others):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    with atomic_file(out) as half:
        figure.savefig(half, dpi=120, format=Path(out).suffix[1:])
    pyplot.close(figure)
