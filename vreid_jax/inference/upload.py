"""Upload a model file with its card to the Hugging Face hub."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath
from typing import Any

from vreid_jax.errors import InputError
from vreid_jax.inference.loading import load
from vreid_jax.model_files import hub
from vreid_jax.model_files.model_card import model_card
from vreid_jax.model_files.weights_file import read_metadata

CARD = "README.md"  # of the file that an address means without naming one; other files have a card each


def upload(
    path: str | Path, address: str, *, private: bool = False, replace: bool = False, api: Any = None
) -> tuple[hub.Address, str]:
    """Upload a model file and its card in one commit, creating the repository if necessary.

    The card of `model.safetensors` is `README.md`, that of another FILE.safetensors `FILE.md`.

    Args:
      path: a file that `vreid convert` wrote.
      address: `hf://OWNER/NAME[/FILE]`; a revision must be a branch.
      private: whether a new repository is private.
      replace: whether an existing file or card may be replaced; the hub keeps the old one in its history.
      api: a `huggingface_hub.HfApi`; by default one with this machine's token.

    Returns:
      The address of the file and the hub's description of the commit.

    Raises:
      InputError: for a file that is damaged or not a model file, a file or card that exists already, and what the hub
        refuses.
    """
    target = hub.parse(address)
    metadata = read_metadata(path)
    if metadata is None:
        raise InputError(f"{path} was not written by this library: make it with `vreid convert`")
    load(path)
    api = api or hub.hub_api()
    where = {"repo_id": target.repo, "revision": target.revision}
    try:
        card = CARD if target.file == hub.DEFAULT_FILE else str(PurePosixPath(target.file).with_suffix(".md"))
        parts = {target.file: Path(path), card: model_card(metadata, str(target)).encode()}
        for name in parts if not replace and api.repo_exists(target.repo) else ():
            if api.file_exists(filename=name, **where):
                there = dataclasses.replace(target, file=name)
                raise InputError(f"{there} is there already: name another file, or allow it with --replace")
        api.create_repo(target.repo, private=private, exist_ok=True)
        commit = api.create_commit(
            operations=[_operation(name, part) for name, part in parts.items()],
            commit_message=f"Add {target.file}",
            **where,
        )
    except hub.errors() as error:
        raise InputError(f"{target} cannot be written: {hub.first_line(error)}") from error
    return target, str(commit)


def _operation(name: str, part: Path | bytes):
    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(name, part if isinstance(part, bytes) else str(part))
