"""The chosen and the refused pictures of a redrawing at a glance."""

from PIL import Image

from lora_core.images.parallel import in_parallel
from lora_core.images.pipeline import thumbnail
from lora_core.images.png import png_bytes
from lora_core.recipe import COMPOSITIONS
from lora_core.redraw.choose import read_selection
from lora_core.redraw.judgement import Code, Judgement, Selection
from lora_core.refs import ReportRef
from lora_core.report.contact_sheet import Group, Tile, sheet
from lora_core.sampling.samples import GRID_FILE
from lora_core.store import Store

_REFUSED: dict[Code, str] = {
    "by_hand": "taken out by hand",
    "trait": "a trait is missing",
    "other": "another character’s trait",
    "look": "3D look",
    "framing": "another composition",
    "copy": "nearly a screenshot",
    "alike": "nearly the same as a chosen one",
    "content": "content rule",
    "spare": "not needed",
}


def with_sheet(store: Store, selected: ReportRef) -> ReportRef:
    """A selection with its contact sheet as `grid.png`."""
    picture = store.path(store.put_bytes(png_bytes(selection_sheet(store, read_selection(store, selected)))))
    return ReportRef(sha256=store.put_tree({**store.tree(selected.sha256), GRID_FILE: picture}))


def selection_sheet(store: Store, found: Selection) -> Image.Image:
    """The chosen by composition, then the refused by their reasons."""
    pictures = in_parallel(lambda one: thumbnail(store, one.image), found.pictures)
    tiles = {one.name: _tile(one, picture) for one, picture in zip(found.pictures, pictures, strict=True)}

    def group(heading: str, own: list[Judgement]) -> Group:
        return Group(f"{heading}: {len(own)}", tuple(tiles[one.name] for one in own))

    chosen = [
        group(f"chosen, {each.replace('_', ' ')}", [one for one in found.chosen if one.composition == each])
        for each in COMPOSITIONS
    ]
    refused = [
        group(f"refused, {heading}", [one for one in found.pictures if one.code == code])
        for code, heading in _REFUSED.items()
    ]
    return sheet(f"Redrawn: {len(found.chosen)} chosen of {len(found.pictures)}", [*chosen, *refused])


def _tile(one: Judgement, picture: Image.Image | None) -> Tile:
    worst = f"{one.worst_trait.replace('_', ' ')} {one.worst_score:.2f}" if one.worst_trait else ""
    return Tile(picture, one.name, worst, "" if one.code in ("chosen", "spare") else one.text)
