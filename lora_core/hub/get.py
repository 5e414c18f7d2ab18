"""Models into a folder: resolved to a commit once, checked by SHA-256, and pinned from then on.

Beside the files lies model.json with the repository, the commit and every file's SHA-256. Whoever gets the model again
gets these bytes or an error (trust on first use); a hash of the catalog holds from the first time on.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_core.bounded import TEXT_BYTES, read_bounded
from lora_core.errors import HubError
from lora_core.hub.catalog import Known, catalog
from lora_core.hub.elsewhere import link, same_files
from lora_core.hub.find import MODEL_TEXTS, TAGGER_FILES, WEIGHTS
from lora_core.store.digests import file_digest
from lora_core.store.files import write_atomically

PIN = "model.json"
_REPOSITORY = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?::(?P<file>[^@:]+))?(?:@(?P<commit>[0-9a-f]{40}))?")

Told = Callable[[str], None]


class Pinned(BaseModel):
    """What model.json keeps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    commit: str = ""
    """Empty: the files came from another folder, and the hub was not asked."""
    sha256: Mapping[str, str]


class Got(NamedTuple):
    """A model in its folder."""

    folder: Path
    pinned: Pinned

    @property
    def model(self) -> Path:
        """What a recipe names: the single file, or the folder."""
        files = tuple(self.pinned.sha256)
        return self.folder / files[0] if len(files) == 1 else self.folder


def get(name: str, into: Path, elsewhere: Path | None = None, told: Told = lambda _: None) -> Got:
    """Get a model into INTO/NAME, unless it is there.

    Args:
        name: of the catalog, or `owner/name`, with `:FILE` for one file of it and `@COMMIT` for another state.
        into: the folder that holds a folder for each model.
        elsewhere: a folder of A1111, Forge, ComfyUI or kohya that may have the files already.
        told: hears what is done, line by line.

    Raises:
        HubError: no such model, the hub cannot be reached, or bytes are not those that are known or pinned.
    """
    known, commit = _asked_for(name)
    folder = into / known.name
    pinned = _pinned(folder)
    if pinned and not _missing(folder, pinned.sha256):
        _check(folder, pinned.sha256)
        return Got(folder, pinned)
    expected = {**known.files, **(pinned.sha256 if pinned else {})}
    if elsewhere is not None:
        if found := same_files(elsewhere, known.repository, expected):
            return _keep(folder, known.repository, pinned.commit if pinned else "", found, told)
        told(f"{elsewhere}: holds no {known.title}; getting it from the hub")
    return _download(folder, known, pinned.commit if pinned else commit, expected, told)


def _asked_for(name: str) -> tuple[Known, str]:
    """The model, and the commit if one was named."""
    if name in catalog():
        return catalog()[name], ""
    if not (found := _REPOSITORY.fullmatch(name)):
        raise HubError(
            f"{name}: no model of that name is known, and it is no hub repository (owner/name); known are "
            f"{', '.join(catalog())}"
        )
    files = {found["file"]: ""} if found["file"] else {}
    return Known(found["repository"].partition("/")[2], name, found["repository"], files), found["commit"] or ""


def _pinned(folder: Path) -> Pinned | None:
    path = folder / PIN
    if not path.is_file():
        return None
    try:
        return Pinned.model_validate_json(read_bounded(path, TEXT_BYTES, HubError))
    except ValidationError:
        raise HubError(f"{path}: not as `headcanon models get` writes it; delete it to get the model anew") from None


def _missing(folder: Path, files: Mapping[str, str]) -> list[str]:
    return [name for name in files if not (folder / name).is_file()]


def _check(folder: Path, expected: Mapping[str, str]) -> dict[str, str]:
    """The files' digests.

    Raises:
        HubError: one is not what it must be.
    """
    digests = {name: file_digest(folder / name) for name in expected}
    for name, digest in digests.items():
        if expected[name] and digest != expected[name]:
            raise HubError(
                f"{folder / name}: its SHA-256 is {digest[:12]}…, {expected[name][:12]}… was pinned; it was changed or "
                "damaged: delete it and run the same command again"
            )
    return digests


def _keep(folder: Path, repository: str, commit: str, found: Mapping[str, Path], told: Told) -> Got:
    """Files of another folder, linked: they take no more room."""
    for name, path in found.items():
        link(path, folder / name)
        told(f"found {path}")
    return _pin(folder, Pinned(repository=repository, commit=commit, sha256=_check(folder, dict.fromkeys(found, ""))))


def _download(folder: Path, known: Known, commit: str, expected: Mapping[str, str], told: Told) -> Got:
    info = _info(known.repository, commit)
    listed = {one.rfilename: one for one in info.siblings or ()}
    wanted = list(known.files) or list(needed(known.repository, listed))
    for name in wanted:
        if name not in listed:
            raise HubError(f"{known.repository}: has no {name}; it has {', '.join(sorted(listed)[:12])}")
    told(f"{known.repository} at commit {info.sha}")
    digests = {}
    for name in wanted:
        stated = listed[name].lfs.sha256 if listed[name].lfs else ""
        digests[name] = _one(folder, known.repository, info.sha, name, expected.get(name) or stated)
    return _pin(folder, Pinned(repository=known.repository, commit=info.sha, sha256=digests))


def _info(repository: str, commit: str) -> Any:
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(repository, revision=commit or None, files_metadata=True)
    except Exception as error:  # the hub's library raises what its HTTP library does, and that has changed twice
        raise HubError(f"{repository}: the hub does not answer ({_one_line(error)}); --from FOLDER takes files that "
                       "are on this machine already") from None  # fmt: skip


def _one(folder: Path, repository: str, commit: str, name: str, expected: str) -> str:
    """Download one file, with the hub client's progress bar; it goes on where an earlier try ended. Its digest."""
    from huggingface_hub import hf_hub_download

    if not (folder / name).is_file():
        try:
            hf_hub_download(repository, name, revision=commit, local_dir=folder)
        except Exception as error:
            raise HubError(f"{repository}: {name} cannot be downloaded ({_one_line(error)}); the same command goes on "
                           "with what is there") from None  # fmt: skip
    digest = file_digest(folder / name)
    if expected and digest != expected:
        (folder / name).unlink()
        raise HubError(
            f"{repository}: {name} came with SHA-256 {digest[:12]}…, {expected[:12]}… is known; it was not kept"
        )
    return digest


def _pin(folder: Path, pinned: Pinned) -> Got:
    text = json.dumps(pinned.model_dump(), indent=2) + "\n"
    write_atomically(folder / PIN, text.encode())
    return Got(folder, pinned)


def needed(repository: str, names: Collection[str]) -> Iterator[str]:
    """Of a repository's files, those that make its model: a diffusers folder's, a tagger's, or its only single file.

    Raises:
        HubError: it holds none, or several single files.
    """
    if "unet/config.json" in names:
        for pattern in MODEL_TEXTS:
            yield from sorted(name for name in names if fnmatchcase(name, pattern))
        for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
            matches = (sorted(n for n in names if fnmatchcase(n, weights.format(part=part))) for weights in WEIGHTS)
            yield from next(filter(None, matches), [])
        return
    if set(TAGGER_FILES) <= set(names):
        yield from TAGGER_FILES
        return
    singles = sorted(name for name in names if name.endswith(".safetensors"))
    if len(singles) != 1:
        has = (
            f"it has {', '.join(singles)}; name one as {repository}:FILE" if singles else "it has no .safetensors file"
        )
        raise HubError(f"{repository}: neither a diffusers folder nor a tagger nor a single file; {has}")
    yield from singles


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
