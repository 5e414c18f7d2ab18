"""Folders of image + same-stem .txt, as Dataset Tag Editor and BooruDatasetTagManager read and write them."""

import io
from pathlib import Path

from PIL import Image

from lora_core.captions import taxonomy
from lora_core.captions.tags import caption_tags, caption_text, escaped
from lora_core.dataset import Entry, Manifest, Rejected
from lora_core.errors import CaptionError, DatasetError, OutputExistsError
from lora_core.recipe import COMPOSITIONS
from lora_core.store import Store, write_atomically


def write_folder(store: Store, manifest: Manifest, folder: Path, *, trigger: str, escape: bool = True) -> None:
    """Write NAME.png and NAME.txt for every picture.

    Args:
        store: where the pictures are.
        manifest: pictures with captions.
        folder: made if need be.
        trigger: stays as it is, its underscores too.
        escape: brackets with backslashes, as web UIs want them and the method has it; trainers want them without.

    Raises:
        CaptionError: a picture has no caption.
        OutputExistsError: a name is taken by other bytes; nothing is written then.
    """
    files: dict[Path, bytes] = {}
    for entry in manifest.entries:
        if not entry.caption:
            raise CaptionError(f"{entry.source}: has no caption; caption the set before writing it")
        text = caption_text(entry.caption, trigger)
        files[folder / f"{entry.name}.png"] = store.get_bytes(entry.image)
        files[folder / f"{entry.name}.txt"] = (escaped(text) if escape else text).encode()
    for path, data in files.items():
        if path.exists() and path.read_bytes() != data:
            raise OutputExistsError(f"{path}: exists with other bytes and is not overwritten; choose another folder")
    for path, data in files.items():
        if not path.exists():
            write_atomically(path, data)


def read_folder(store: Store, folder: Path, *, trigger: str) -> Manifest:
    """Read such a folder back, hand edits included: escaped or not, with or without BOM, CRLF or LF.

    A picture without a caption file, or with an empty one, is rejected with the reason.

    Raises:
        DatasetError: no such folder, or no picture with a caption in it.
        CaptionError: a caption file is not UTF-8.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder; name one with pictures and .txt captions")
    entries: list[Entry] = []
    rejected: list[Rejected] = []
    for path in sorted(folder.glob("*.png")):
        caption = _caption(path.with_suffix(".txt"), trigger)
        if not caption:
            rejected.append(Rejected(source=path.name, reason=f"no caption in {path.stem}.txt"))
            continue
        entries.append(_entry(store, path, caption))
    if not entries:
        raise DatasetError(f"{folder}: no NAME.png with a caption in NAME.txt")
    return Manifest(entries=tuple(entries), rejected=tuple(rejected))


def _caption(path: Path, trigger: str) -> tuple[str, ...]:
    if not path.exists():
        return ()
    try:
        return caption_tags(path.read_text("utf-8-sig"), trigger)
    except UnicodeDecodeError as error:
        raise CaptionError(f"{path}: not UTF-8; save it as UTF-8 text") from error


def _entry(store: Store, path: Path, caption: tuple[str, ...]) -> Entry:
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{path}: not a readable PNG; export it again") from error
    framings = [tag for tag in caption if taxonomy.is_framing(tag)]
    composition = next((name for name in COMPOSITIONS if [name] == framings), None)
    return Entry(
        name=path.stem,
        source=path.name,
        image=store.put_bytes(data),
        width=width,
        height=height,
        composition=composition,
        caption=caption,
    )
