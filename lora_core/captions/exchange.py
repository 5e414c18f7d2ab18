"""Folders of image + same-stem .txt, as Dataset Tag Editor and BooruDatasetTagManager read and write them."""

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_core.bounded import MIB, TABLE_BYTES, json_of, read_bounded, read_text
from lora_core.captions.tags import caption_tags, caption_text, escaped
from lora_core.dataset import Manifest
from lora_core.digests import canonical_json, digest_of
from lora_core.disk import write_atomically
from lora_core.errors import CaptionError, DatasetError, OutputExistsError
from lora_core.store import Store

REPORT_NAME = "report.json"
_WRITTEN = "written_texts"


def write_folder(
    store: Store,
    manifest: Manifest,
    folder: Path,
    *,
    trigger: str,
    escape: bool = False,
    report: Mapping[str, Any] | None = None,
) -> None:
    """Write NAME.png and NAME.txt for every picture, and report.json.

    The report remembers what was written, so that a text may be written again as long as nobody has edited it.

    Args:
        store: where the pictures are.
        manifest: pictures with captions.
        folder: made if need be.
        trigger: stays as it is, its underscores too.
        escape: brackets with backslashes, as web UIs and editors that read weights want them; trainers want none.
        report: what else goes into report.json.

    Raises:
        CaptionError: a picture has no caption.
        OutputExistsError: a name is taken by other bytes, or a text was edited by hand; nothing is written then.
    """
    written = _written_before(folder)
    files: dict[Path, bytes] = {}
    for entry in manifest.entries:
        if not entry.caption:
            raise CaptionError(f"{entry.source}: has no caption; caption the set before writing it")
        text = caption_text(entry.caption, trigger)
        picture, caption = folder / f"{entry.name}.png", folder / f"{entry.name}.txt"
        files[picture] = store.get_bytes(entry.image)
        files[caption] = (escaped(text) if escape else text).encode()
        _refuse_other_picture(picture, files[picture])
        _refuse_edited_text(caption, entry.caption, trigger, written.get(caption.name))
    for path, data in files.items():
        if not path.exists() or path.read_bytes() != data:
            write_atomically(path, data)
    digests = {path.name: digest_of(data) for path, data in files.items() if path.suffix == ".txt"}
    write_atomically(folder / REPORT_NAME, canonical_json({**(report or {}), _WRITTEN: digests}))


def read_texts(folder: Path) -> dict[str, str]:
    """The caption files of a folder and its sub-folders, by the stem of their names; with or without BOM.

    Raises:
        DatasetError: no such folder, or no caption file in it.
        CaptionError: a file is not UTF-8, or two have the same name.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder; name one with .txt captions")
    texts: dict[str, str] = {}
    for path in sorted(folder.rglob("*.txt")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        name = unicodedata.normalize("NFC", path.stem)
        if name in texts:
            raise CaptionError(f"{path}: there is another {path.name} in {folder}; name the folder with the right one")
        try:
            texts[name] = read_text(path, MIB, CaptionError)
        except UnicodeDecodeError as error:
            raise CaptionError(f"{path}: not UTF-8; save it as UTF-8 text") from error
    if not texts:
        raise DatasetError(f"{folder}: no .txt captions in it")
    return texts


def texts_of(manifest: Manifest, texts: Mapping[str, str]) -> dict[str, str | None]:
    """The text of every picture of a set; None where there is none."""
    return {entry.name: texts.get(unicodedata.normalize("NFC", entry.name)) for entry in manifest.entries}


def _written_before(folder: Path) -> Mapping[str, str]:
    path = folder / REPORT_NAME
    if not path.exists():
        return {}
    try:
        written = json_of(read_bounded(path, TABLE_BYTES, OutputExistsError))[_WRITTEN]
    except (ValueError, KeyError, TypeError):
        written = None
    if not isinstance(written, dict):
        raise OutputExistsError(f"{path}: is not a report on captions and is not overwritten; choose another folder")
    return written


def _refuse_other_picture(path: Path, data: bytes) -> None:
    if path.exists() and path.read_bytes() != data:
        raise OutputExistsError(f"{path}: exists with other bytes and is not overwritten; choose another folder")


def _refuse_edited_text(path: Path, caption: tuple[str, ...], trigger: str, written: str | None) -> None:
    """A text that says the same, or that is still as it was written, may be replaced: nothing is lost."""
    if not path.exists() or digest_of(data := path.read_bytes()) == written:
        return
    try:
        said = set(caption_tags(data.decode("utf-8-sig"), trigger))
        same = said | {trigger} == {*caption, trigger}
    except UnicodeDecodeError:
        same = False
    if not same:
        raise OutputExistsError(
            f"{path}: was edited by hand and is not overwritten; take the edits into the rule file first "
            f"(headcanon caption … --import {path.parent}), or choose another folder"
        )
