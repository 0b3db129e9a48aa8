"""Serve galleries as a local web application: browse people, search, compare, correct; JSON for programs."""

import argparse
import os
import sys

from vreid_jax.cli.numbers import whole
from vreid_jax.errors import InputError

EXAMPLE = """vreid serve gallery.parquet
  VREID_TOKEN=… vreid serve north.parquet south.parquet --identities=identities.parquet --host=0.0.0.0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "galleries",
        nargs="+",
        metavar="gallery",
        help="files that `vreid embed` wrote, folders or addresses of them, of one model",
    )
    parser.add_argument("--identities", help="file that `vreid link` wrote for them")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; any but this machine's own needs a token"
    )
    parser.add_argument("--port", type=whole, default=8765, help="0: any that is free")
    parser.add_argument(
        "--token", help="what users sign in with; better in the variable VREID_TOKEN, which nobody else sees"
    )
    parser.add_argument("--audit", help="file of the audit log; default: the first gallery, with .audit.jsonl appended")
    parser.add_argument(
        "--model", help="that made the galleries, to embed uploads; default: the model in the box, if it did"
    )
    parser.add_argument("--blur-faces", action="store_true", help="blur the heads in every picture")
    parser.add_argument("--data-dir", help="where datasets are, for galleries made from one")


def run(flags: argparse.Namespace) -> dict:
    """Serve until Ctrl-C, which is the usual end; return what was served."""
    from vreid_jax.serving.address import Address

    token = flags.token if flags.token is not None else os.environ.get("VREID_TOKEN", "")
    address = Address(flags.host, flags.port, token)  # before anything is loaded
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"`vreid serve` needs {error.name}: python3 -m pip install 'vreid_jax[search,serve]'"
        ) from error
    from vreid_jax.serving.server import serve
    from vreid_jax.serving.service import Options

    options = Options(
        galleries=flags.galleries,
        identities=flags.identities,
        address=address,
        audit=flags.audit,
        model=flags.model,
        blur_faces=flags.blur_faces,
        data_dir=flags.data_dir,
    )
    return serve(options, _say)


def _say(address: str) -> None:
    print(f"serving on {address} until Ctrl-C", file=sys.stderr, flush=True)


def text(outcome: dict) -> str:
    """Return one line."""
    return f"served {outcome['tracklets']} tracklets; who searched for whom is in {outcome['audit']}"
