"""Model files on the Hugging Face hub: `hf://OWNER/NAME[@REVISION][/FILE]`, downloaded once, uploaded with their card."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError
from vreid_jax.pretrained.model_card import model_card
from vreid_jax.pretrained.weights_file import read_metadata

PREFIX = "hf://"
FILE = "model.safetensors"  # in a repository, where the address names none
CARD = "README.md"
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
    api = api or _api()
    try:
        return Path(api.hf_hub_download(repo_id=address.repo, filename=address.file, revision=address.revision))
    except _errors() as error:
        raise InputError(f"{address} cannot be downloaded: {_first_line(error)}") from error


def upload(
    path: str | Path, address: str, *, private: bool = False, replace: bool = False, api: Any = None
) -> tuple[Address, str]:
    """Put a model file and its card into a repository, in one commit; the repository is made where there is none.

    Args:
      path: a file that `vreid convert` wrote.
      address: `hf://OWNER/NAME[/FILE]`; a revision has to be a branch.
      private: whether a new repository is.
      replace: whether a file that is there may be replaced; the hub keeps the old one in its history.
      api: a `huggingface_hub.HfApi`.

    Returns:
      The address of the file, and what the hub says of the commit.

    Raises:
      InputError: for a file of another kind or a damaged one, one that is there already, or what the hub refuses.
    """
    from vreid_jax import inference  # which imports this module

    target = parse(address)
    metadata = read_metadata(path)
    if metadata is None:
        raise InputError(f"{path} was not written by this library: make it with `vreid convert`")
    inference.load(path)
    api = api or _api()
    where = {"repo_id": target.repo, "revision": target.revision}
    try:
        if not replace and api.repo_exists(target.repo) and api.file_exists(filename=target.file, **where):
            raise InputError(f"{target} is there already: name another file, or allow it with --replace")
        api.create_repo(target.repo, private=private, exist_ok=True)
        parts = {target.file: Path(path), CARD: model_card(metadata, str(target)).encode()}
        commit = api.create_commit(
            operations=[_operation(name, part) for name, part in parts.items()],
            commit_message=f"Add {target.file}",
            **where,
        )
    except _errors() as error:
        raise InputError(f"{target} cannot be written: {_first_line(error)}") from error
    return target, str(commit)


def _operation(name: str, part: Path | bytes):
    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(name, part if isinstance(part, bytes) else str(part))


def _api():
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise InputError("hf:// addresses need the hub's client: python3 -m pip install 'vreid_jax[hub]'") from error
    return HfApi()


def _errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises where a repository, a file or the network is not there."""
    try:
        from huggingface_hub import errors
    except ImportError:
        return (OSError,)
    # The first base is what the HTTP library below raises, whichever it is; it covers a network that is not there.
    network = errors.HfHubHTTPError.__bases__[0]
    return OSError, network, errors.HFValidationError, errors.OfflineModeIsEnabled


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
