"""Model files on the Hugging Face hub: `hf://OWNER/NAME[@REVISION][/FILE]`, downloaded once."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError

PREFIX = "hf://"
FILE = "model.safetensors"  # in a repository, where the address names none
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/\s]+))?(?:/(?P<file>[^@\s]+\.safetensors))?")


@dataclasses.dataclass(frozen=True)
class Address:
    """A file of a repository: `repo` is OWNER/NAME, `revision` a branch, tag or commit, None the main branch."""

    repo: str
    revision: str | None
    file: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}{f'@{self.revision}' if self.revision else ''}/{self.file}"


def parse(address: str) -> Address:
    """The parts of an address; `InputError` for anything else."""
    found = _ADDRESS.fullmatch(address)
    if not found:
        raise InputError(f"{address} is no address on the hub: it is hf://OWNER/NAME[@REVISION][/FILE.safetensors]")
    return Address(found["repo"], found["revision"], found["file"] or FILE)


def local_path(path: str | Path, api: Any = None) -> Path:
    """A path of this machine as it is, its ~ expanded; a file of the hub downloaded, unless it was before.

    `api` is a `huggingface_hub.HfApi`, by default one with the token of this machine, if any. Raises `InputError`
    where the hub does not give the file.
    """
    if not str(path).startswith(PREFIX):
        return Path(path).expanduser()
    address = parse(str(path))
    api = api or hub_api()
    try:
        return Path(api.hf_hub_download(repo_id=address.repo, filename=address.file, revision=address.revision))
    except errors() as error:
        raise InputError(f"{address} cannot be downloaded: {first_line(error)}") from error


def hub_api():
    """Return the hub's client with the token of this machine, if any; `InputError` where it is not installed."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise InputError("hf:// addresses need the hub's client: python3 -m pip install 'vreid_jax[hub]'") from error
    return HfApi()


def errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises where a repository, a file or the network is not there."""
    try:
        from huggingface_hub import errors as raised
    except ImportError:
        return (OSError,)
    # The first base is what the HTTP library below raises, whichever it is; it covers a network that is not there.
    network = raised.HfHubHTTPError.__bases__[0]
    return OSError, network, raised.HFValidationError, raised.OfflineModeIsEnabled


def first_line(error: Exception) -> str:
    """Return the first line of what an exception says, or its name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
