"""Folders of image + same-stem .txt, and hand edits made in them as overrides of the rule file."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from lora_core.bounded import MIB, TABLE_BYTES, decoded, json_of, read_bounded, read_text
from lora_core.captions import taxonomy
from lora_core.captions.edit import Select, edit
from lora_core.captions.reading import caption_tags, read_caption
from lora_core.captions.rules import Override, Rules
from lora_core.captions.tags import canonical, caption_text, escaped
from lora_core.dataset import HEIGHTS, SIDES, Entry, Manifest, Scores, TagTable
from lora_core.errors import CaptionError, DatasetError, OutputExistsError
from lora_core.images.kinds import MEANT_BY
from lora_core.recipe import COMPOSITIONS, Composition
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of
from lora_core.store.files import write_atomically

REPORT_NAME = "report.json"
_WRITTEN = "written_texts"
_CAPTIONS = (".txt", ".caption")


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
        escape: brackets with backslashes, as web UIs and editors that read weights want them.
        report: further keys of report.json.

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
        if picture.exists() and picture.read_bytes() != files[picture]:
            raise OutputExistsError(f"{picture}: exists with other bytes and is not overwritten; choose another folder")
        _refuse_edited_text(caption, entry.caption, trigger, written.get(caption.name))
    for path, data in files.items():
        if not path.exists() or path.read_bytes() != data:
            write_atomically(path, data)
    digests = {path.name: digest_of(data) for path, data in files.items() if path.suffix == ".txt"}
    write_atomically(folder / REPORT_NAME, canonical_json({**(report or {}), _WRITTEN: digests}))


def read_texts(folder: Path) -> dict[str, str]:
    """The caption files of a folder and its sub-folders, by the picture's name: NAME.txt, NAME.caption, NAME.png.txt.

    Raises:
        DatasetError: no such folder, or no caption file in it.
        CaptionError: a file is no text, or two of one name say different things.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder; name one with .txt or .caption files")
    texts: dict[str, str] = {}
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in _CAPTIONS):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        stem = PurePath(path.stem)
        name = unicodedata.normalize("NFC", stem.stem if stem.suffix.lower() in MEANT_BY else str(stem))
        text = _text(path)
        if texts.setdefault(name, text) != text:
            other = files[name].relative_to(folder)
            raise CaptionError(f"{path}: there is another {other} in {folder}, which says something else; keep one")
        files.setdefault(name, path)
    if not texts:
        raise DatasetError(f"{folder}: no .txt or .caption files in it")
    return texts


def _text(path: Path) -> str:
    try:
        return read_text(path, MIB, CaptionError)
    except UnicodeError as error:
        raise CaptionError(f"{path}: not UTF-8 or UTF-16; save it as UTF-8 text") from error


def no_tags(texts: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """What of each caption's text is of a prompt and no tag, by picture."""
    found = {name: read_caption(text).left_out for name, text in texts.items() if text}
    return {name: left_out for name, left_out in found.items() if left_out}


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


def _refuse_edited_text(path: Path, caption: tuple[str, ...], trigger: str, written: str | None) -> None:
    """A text that says the same, or that is still as it was written, may be replaced: nothing is lost."""
    if not path.exists() or digest_of(data := path.read_bytes()) == written:
        return
    try:
        said = set(caption_tags(decoded(data), trigger))
        same = said | {trigger} == {*caption, trigger}
    except UnicodeError:
        same = False
    if not same:
        raise OutputExistsError(
            f"{path}: was edited by hand and is not overwritten; take the edits into the rule file first "
            f"(headcanon caption … --import {path.parent}), or choose another folder"
        )


@dataclass(frozen=True)
class Edits:
    """What somebody's text says otherwise than the rules.

    Attributes:
        override: makes the rules say the same; None: they do without one.
        added: tags that the text has and the rules, as they were, did not put on.
        removed: tags that they put on and the text has not.
    """

    override: Override | None
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True)
class Situation:
    """All that decides captions besides the picture."""

    rules: Rules
    trigger: str
    select: Select


def hand_edits(
    texts: Mapping[str, str | None], manifest: Manifest, tags: TagTable, situation: Situation
) -> dict[str, Edits]:
    """Find what hand-edited captions change, by picture; texts of None, or that the rules make as well, are left out.

    The order of tags is not taken over: captions have an order of their own. The trigger is put on in any case.

    Raises:
        CaptionError: a text is empty, or has no framing or more than one.
    """
    found: dict[str, Edits] = {}
    for entry in manifest.entries:
        text = texts.get(entry.name)
        if text is not None and (edits := _edits(entry, tags.of(entry), text, situation)):
            found[entry.name] = edits
    return found


def with_overrides(rules: Rules, edits: Mapping[str, Edits]) -> Rules:
    """The rules with these edits in them."""
    images = {name: override for name, override in rules.images.items() if name not in edits}
    images |= {name: one.override for name, one in edits.items() if one.override is not None}
    return rules.model_copy(update={"images": images})


def _edits(entry: Entry, scores: Scores, text: str, situation: Situation) -> Edits | None:
    wanted = _wanted(entry.name, text, situation)
    override = _override(entry, scores, wanted, situation)
    try:
        now = _tags(entry, scores, situation)
    except CaptionError:  # the rules alone cannot tell the framing; the text can
        now = _tags(entry, scores, situation, Override(framing=override.framing))
    else:
        if now == wanted:
            return None
    return Edits(
        override=None if override == Override() else override,
        added=tuple(sorted(wanted - now)),
        removed=tuple(sorted(now - wanted)),
    )


def _wanted(name: str, text: str, situation: Situation) -> frozenset[str]:
    """The tags of a text without the trigger, as the rule file would spell them."""
    trigger, replace = situation.trigger, situation.rules.replace
    tags = frozenset(replace.get(tag, tag) for tag in caption_tags(text, trigger)) - {trigger, canonical(trigger)}
    if not tags:
        raise CaptionError(f"{name}.txt: an empty caption; write one, or delete the file to leave it to the rules")
    return tags


def _override(entry: Entry, scores: Scores, wanted: frozenset[str], situation: Situation) -> Override:
    """Framing and view first, for the face hangs on them; then what is still missing or too much."""
    framing, views = _framing(entry.name, wanted), _views(wanted)
    plain = _tags(entry, scores, situation, Override(framing=framing))
    placed = _made(
        entry.name,
        framing=None if framing == _framing_without(entry, scores, situation) else framing,
        view=() if set(views) == set(_views(plain)) else views,
    )
    rest = _tags(entry, scores, situation, placed)
    return placed.model_copy(update={"drop": tuple(sorted(rest - wanted)), "add": tuple(sorted(wanted - rest))})


def _framing_without(entry: Entry, scores: Scores, situation: Situation) -> str | None:
    """The framing that needs no override; None: nobody has said one."""
    try:
        return next(tag for tag in _tags(entry, scores, situation, Override()) if taxonomy.is_framing(tag))
    except CaptionError:
        return None


def _made(name: str, *, framing: Composition | None, view: tuple[str, ...]) -> Override:
    try:
        return Override.model_validate({"framing": framing, "view": view})
    except ValidationError as error:
        raise CaptionError(f"{name}.txt: view = {', '.join(view)}: {error.errors()[0]['ctx']['error']}") from None


def _framing(name: str, wanted: frozenset[str]) -> Composition:
    found = sorted(tag for tag in wanted if taxonomy.is_framing(tag))
    if len(found) == 1:
        for composition in COMPOSITIONS:
            if composition == found[0]:
                return composition
    said = ", ".join(found) or "none"
    raise CaptionError(f"{name}.txt: framing: {said}; write exactly one of {', '.join(COMPOSITIONS)}")


def _views(tags: Iterable[str]) -> tuple[str, ...]:
    there = set(tags)
    return tuple(view for view in (*SIDES, *HEIGHTS) if view in there)


def _tags(entry: Entry, scores: Scores, situation: Situation, override: Override | None = None) -> frozenset[str]:
    """What the rules say of a picture, with another override than theirs if one is given; without the trigger."""
    rules = situation.rules
    if override is not None:
        rules = rules.model_copy(update={"images": {**rules.images, entry.name: override}})
    return frozenset(edit(entry, scores, rules, situation.trigger, situation.select).tags) - {situation.trigger}
