"""Model files on the Hugging Face hub: `hf://OWNER/NAME[@REVISION][/FILE]`, downloaded and cached."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError
from vreid_jax.files import user_path

PREFIX = "hf://"
DEFAULT_FILE = "model.safetensors"  # where an address does not name a file
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/\s]+))?(?:/(?P<file>[^@\s]+\.safetensors))?")


@dataclasses.dataclass(frozen=True)
class Address:
    """A file of a repository on the hub.

    Attributes:
      repo: OWNER/NAME.
      revision: a branch, tag or commit; None for the main branch.
      file: its path in the repository.
    """

    repo: str
    revision: str | None
    file: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}{f'@{self.revision}' if self.revision else ''}/{self.file}"


def parse(address: str) -> Address:
    """Parse an address; raise `InputError` for anything else."""
    found = _ADDRESS.fullmatch(address)
    if not found:
        raise InputError(f"{address} is not an address on the hub; write hf://OWNER/NAME[@REVISION][/FILE.safetensors]")
    return Address(found["repo"], found["revision"], found["file"] or DEFAULT_FILE)


def local_path(path: str | Path, api: Any = None) -> Path:
    """Return a local path for a path or an address on the hub, downloading the file unless it is cached.

    Args:
      path: a local path, in which ~ is expanded, or an `hf://` address.
      api: a `huggingface_hub.HfApi`; by default one with this machine's token, if any.

    Raises:
      InputError: if the address is malformed, the hub's client is not installed, or the download fails.
    """
    if not str(path).startswith(PREFIX):
        return user_path(path)
    address = parse(str(path))
    api = api or hub_api()
    try:
        return Path(api.hf_hub_download(repo_id=address.repo, filename=address.file, revision=address.revision))
    except errors() as error:
        raise InputError(f"{address} cannot be downloaded: {first_line(error)}") from error


def hub_api():
    """Return the hub's client with this machine's token, if any; raise `InputError` if it is not installed."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise InputError("hf:// addresses need the hub's client: python3 -m pip install 'vreid_jax[hub]'") from error
    return HfApi()


def errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of the hub's client for a missing repository or file and for an unreachable network."""
    try:
        from huggingface_hub import errors as raised
    except ImportError:
        return (OSError,)
    # The first base is the error of the HTTP library underneath, whichever that is; it covers an unreachable network.
    network = raised.HfHubHTTPError.__bases__[0]
    return OSError, network, raised.HFValidationError, raised.OfflineModeIsEnabled


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or the name of its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
