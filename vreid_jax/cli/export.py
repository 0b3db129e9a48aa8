"""Write a trained model as StableHLO, and as ONNX if asked, for any batch size, checked against the model."""

import argparse

from vreid_jax.cli import chosen_model

EXAMPLE = "vreid export runs/m3d-walkers --out=m3d_export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", nargs="?", help=chosen_model.HELP)
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--platforms", default="cpu,cuda,tpu", help="where it will run, this machine's among them")
    parser.add_argument("--onnx", action="store_true", help="ONNX files beside them, checked with onnxruntime")


def run(flags: argparse.Namespace) -> dict:
    """Export; return the metadata of what was written."""
    from vreid_jax import export

    platforms = [name.strip() for name in flags.platforms.split(",") if name.strip()]
    model = chosen_model.load_chosen(flags.model)
    about = export.export_model(model, flags.out, platforms=platforms, onnx=flags.onnx)
    return {"out": flags.out, **about}


def text(outcome: dict) -> str:
    """Return what was written, and how near it is to the model."""
    lines = [f"{outcome['out']}: {outcome['model']} {outcome['fingerprint']} for {', '.join(outcome['platforms'])}"]
    for name, found in outcome["functions"].items():
        inputs = " and ".join(f"{one['dtype']} [{', '.join(map(str, one['shape']))}]" for one in found["inputs"])
        lines.append(f"  {name}: {inputs}, differs by {found['largest_difference']:.1e} on {outcome['checked_on']}")
        if "onnx" in found:
            checked = outcome["onnx"]["checked_with"]
            lines.append(f"  {name}.onnx: differs by {found['onnx']['largest_difference']:.1e}, {checked}")
    return "\n".join(lines)
