"""A set of pictures at a glance: what was accepted, by composition, and what was left out, with the reason."""

from pathlib import PurePath

from PIL import Image

from lora_core.dataset import Entry, Manifest
from lora_core.images.collect import LEFT_OUT_SHEET_NAME, SHEET_NAME
from lora_core.images.coverage import seen_from
from lora_core.images.parallel import in_parallel
from lora_core.images.pipeline import thumbnail
from lora_core.images.png import png_bytes
from lora_core.recipe import COMPOSITIONS, ShotPlan
from lora_core.report.tiles import Group, Tile, sheet
from lora_core.store import Store


def sheet_files(store: Store, manifest: Manifest, plan: ShotPlan, title: str) -> dict[str, bytes]:
    """Both sheets as PNGs, by their names in a folder of pictures."""
    sheets = {SHEET_NAME: accepted_sheet(store, manifest, plan, title)}
    if (left_out := left_out_sheet(store, manifest, title)) is not None:
        sheets[LEFT_OUT_SHEET_NAME] = left_out
    return {name: png_bytes(picture) for name, picture in sheets.items()}


def accepted_sheet(store: Store, manifest: Manifest, plan: ShotPlan, title: str) -> Image.Image:
    """The pictures of a set by composition, each with its views and with what a person should look at.

    Raises:
        ValueError: the set is empty.
    """
    pictures = in_parallel(lambda entry: thumbnail(store, entry.image), manifest.entries)
    tiles = {
        entry.name: Tile(picture, entry.name, _views(entry), "; ".join(entry.flag_texts))
        for entry, picture in zip(manifest.entries, pictures, strict=True)
    }
    groups = []
    for composition in (*COMPOSITIONS, None):
        own = tuple(tiles[entry.name] for entry in manifest.entries if entry.composition == composition)
        planned = f" ({plan.count(composition)} planned)" if composition else ""
        heading = f"{_words(composition or 'composition unknown')}: {len(own)}{planned}"
        groups.append(Group(heading, own))
    flagged = sum(bool(entry.flags) for entry in manifest.entries)
    look = f", {flagged} to look at" if flagged else ""
    return sheet(f"{title}: {_counted(len(tiles))}{look}", groups)


def left_out_sheet(store: Store, manifest: Manifest, title: str) -> Image.Image | None:
    """What was left out and may be missed, each with the reason; None if there is nothing of the kind.

    System files, captions and the like are not shown; the report names them.
    """
    missed = [one for one in manifest.rejected if one.image or not one.harmless]
    if not missed:
        return None
    pictures = in_parallel(lambda one: thumbnail(store, one.image) if one.image else None, missed)
    tiles = tuple(
        Tile(picture, PurePath(one.source).name, remark=one.reason)
        for one, picture in zip(missed, pictures, strict=True)
    )
    return sheet(f"{title}: {_counted(len(tiles))} left out", [Group("", tiles)])


def _counted(number: int) -> str:
    return "1 picture" if number == 1 else f"{number} pictures"


def _words(tag: str) -> str:
    return tag.replace("_", " ")


def _views(entry: Entry) -> str:
    return ", ".join(map(_words, seen_from(entry))) if entry.view is not None else ""
