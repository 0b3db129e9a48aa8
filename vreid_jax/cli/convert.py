"""Convert a trained workdir, or PyTorch weights, into one .safetensors file, or say what one holds."""

import argparse

EXAMPLE = """vreid convert runs/m3d-walkers --out=m3d.safetensors --licence=Apache-2.0
  vreid convert resnet50.pth --model=resnet50_separable --out=separable.safetensors
  vreid convert --card"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "source",
        nargs="?",
        help="workdir of a run, a .safetensors file, hf://OWNER/NAME, or PyTorch weights; default: the model in the box",
    )
    parser.add_argument("--out", help="file to write, .safetensors, its card beside it; without it nothing is written")
    parser.add_argument("--card", action="store_true", help="print the card of a model file; nothing is converted")
    parser.add_argument("--without-classifier", action="store_true", help="leave out what only training needs")
    parser.add_argument("--half", action="store_true", help="round the parameters to float16: half the size")
    parser.add_argument("--model", default="", help="of PyTorch weights: a name of models.names(), e.g. resnet50_i3d")
    add_weight_arguments(parser)


def add_weight_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that say what becomes of PyTorch weights."""
    parser.add_argument("--inflation", default="mean", help="of 2-D kernels in a 3-D network: mean or center")
    parser.add_argument("--field", action="append", default=[], metavar="NAME=VALUE", help="a field of the model")
    parser.add_argument("--licence", default="", help="under what terms the weights may be used")


def run(flags: argparse.Namespace) -> dict:
    """Convert; return what the model says of itself, or its card."""
    from vreid_jax import inference
    from vreid_jax.errors import InputError
    from vreid_jax.inference.convert import card_of, convert, parse_field

    if flags.card:
        if flags.out or flags.model or flags.without_classifier or flags.half:
            raise InputError("--card prints a card and converts nothing: leave out the other flags")
        return {"card": card_of(flags.source)}
    card = None
    if flags.out:
        card = convert(
            flags.source,
            flags.out,
            model_name=flags.model,
            fields=dict(parse_field(text) for text in flags.field),
            inflation=flags.inflation,
            licence=flags.licence,
            classifier=not flags.without_classifier,
            half=flags.half,
        )
    elif flags.model:
        raise InputError("PyTorch weights say nothing of themselves: give --out=FILE.safetensors")
    elif flags.licence or flags.field or flags.without_classifier or flags.half:
        raise InputError(
            "--licence, --field, --without-classifier and --half are about the file that is written: give "
            "--out=FILE.safetensors"
        )
    model = inference.load(flags.out or flags.source)
    return {
        "out": flags.out,
        "card": card and str(card),
        "model": model.name,
        "fields": dict(model.fields),
        "fingerprint": model.fingerprint,
        "height": model.config.data.height,
        "width": model.config.data.width,
        "mean": list(model.mean),
        "std": list(model.std),
        "clip_length": {name: stream.clip.length for name, stream in model.config.evaluation.streams.items()},
        **({"validation": share} if (share := model.config.data.get("validation")) else {}),
        **model.about,
    }


def text(outcome: dict) -> str:
    """Return what the model is, line by line, or its card."""
    from vreid_jax.model_files.metadata import validation_note

    if "model" not in outcome:
        return outcome["card"].rstrip()
    lines = [f"{outcome['out'] or 'model'}: {outcome['model']} {outcome['fingerprint']}"]
    told = ("system", "dataset", "step", "licence", "library_version", "card")
    lines += [f"  {key.replace('_', ' ')}: {outcome[key]}" for key in told if outcome.get(key)]
    clips = ", ".join(f"{length} ({name})" for name, length in outcome["clip_length"].items())
    lines.append(f"  frames: {outcome['height']} x {outcome['width']}, in a clip: {clips}")
    for protocol, scores in (outcome.get("scores") or {}).items():
        rank1, mean = ("–" if scores[name] is None else f"{100 * scores[name]:.1f}" for name in ("rank1", "mAP"))
        by = f" by {outcome['scores_by']}" if outcome.get("scores_by") else ""
        lines.append(f"  {protocol}{validation_note(outcome.get('validation'))}: rank-1 {rank1}, mAP {mean}{by}")
    return "\n".join(lines)
