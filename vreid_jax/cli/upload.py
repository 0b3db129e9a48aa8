"""Put a model file and its card into a repository of the Hugging Face hub."""

import argparse

EXAMPLE = "vreid upload m3d.safetensors hf://OWNER/NAME"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("file", help=".safetensors file that `vreid convert` wrote")
    parser.add_argument(
        "address", help="hf://OWNER/NAME[/FILE.safetensors]; the repository is made where there is none"
    )
    parser.add_argument("--private", action="store_true", help="make a new repository a private one")
    parser.add_argument(
        "--replace", action="store_true", help="replace a file or a card that is there; its history stays"
    )


def run(flags: argparse.Namespace) -> dict:
    """Upload; return the file's address."""
    from vreid_jax.inference.upload import upload

    address, commit = upload(flags.file, flags.address, private=flags.private, replace=flags.replace)
    return {"address": str(address), "commit": commit}


def text(outcome: dict) -> str:
    """Return where it is now, and how it is used."""
    return f"{outcome['address']}: load it with vreid_jax.load, --model=, or init_from"
