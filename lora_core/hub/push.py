"""A finished LoRA to a repository on the hub."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi

from lora_core.errors import OutputExistsError, PublishError, RecipeError
from lora_core.store.digests import file_digest

_HEADER = b"blob %d\0"


def token_of_environment() -> str:
    """HF_TOKEN; empty: not set."""
    return os.environ.get("HF_TOKEN", "")


def push(files: Mapping[str, Path], repository: str, lora: str, token: str, *, private: bool, message: str) -> str:
    """Put files into a repository in one commit; the repository is made if it does not exist.

    Args:
        files: name in the repository → file.
        repository: owner/name.
        lora: the LoRA's name among the files; if the repository has one of that name, its bytes must be the same.
        token: a secret; it goes to the hub alone.
        private: of a repository that is made.
        message: of the commit.

    Returns:
        The commit's address.

    Raises:
        RecipeError: there is no token.
        OutputExistsError: the LoRA's name is taken by other bytes. Nothing is written then.
        PublishError: the hub cannot be reached, or refuses.
    """
    if not token:
        raise RecipeError(
            f"publish.repository = {repository!r}: there is no token; set HF_TOKEN, or name a Prefect secret block in "
            "publish.token_block"
        )
    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        _refuse_other_bytes(api, repository, lora, files[lora])
        operations = [CommitOperationAdd(name, path) for name, path in sorted(files.items())]
        return str(api.create_commit(repository, operations, commit_message=message).commit_url)
    except OutputExistsError:
        raise
    except Exception as error:  # the hub's library raises what its HTTP library does, and that has changed twice
        raise PublishError(
            f"{repository}: {_one_line(error, token)}; what was made is in the output folder and stays cached"
        ) from None


def _refuse_other_bytes(api: Any, repository: str, lora: str, path: Path) -> None:
    for known in api.get_paths_info(repository, [lora]):
        same = known.lfs.sha256 == file_digest(path) if known.lfs else known.blob_id == _blob_id(path)
        if not same:
            raise OutputExistsError(
                f"{repository}: {lora} is there with other bytes and is not overwritten; `--as v2` publishes beside it"
            )


def _blob_id(path: Path) -> str:
    """What git calls a file's content: SHA-1 of its length and its bytes."""
    data = path.read_bytes()
    return hashlib.sha1(_HEADER % len(data) + data, usedforsecurity=False).hexdigest()


def _one_line(error: Exception, token: str) -> str:
    """The hub's words in one line, without the token should they repeat it."""
    return " ".join(str(error).split()).replace(token, "***")[:300] or type(error).__name__
