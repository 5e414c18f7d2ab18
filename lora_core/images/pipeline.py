"""The image steps of the graph; every picture is remembered on its own, so that a new one costs one picture's work."""

import contextlib
import io
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from lora_core.dataset import Entry, Flag, Manifest, Rejected
from lora_core.errors import DatasetError, ImageError
from lora_core.images.alpha import flatten, read_alpha
from lora_core.images.collect import nothing_left
from lora_core.images.decode import decode
from lora_core.images.parallel import in_parallel
from lora_core.images.png import png_bytes
from lora_core.images.review import Facts, blur, perceptual_hash, review
from lora_core.images.square import resized, square_picture
from lora_core.progress import Progress, silent
from lora_core.recipe import Preprocess
from lora_core.refs import Digest
from lora_core.store import Store
from lora_core.store.memo import memo, memo_key

SIDE_PX = 160
_WHITE = (255, 255, 255)


def thumbnail(store: Store, picture: str) -> Image.Image | None:
    """A picture of the store, by its digest, at 160 px at most, on white; None if it can't be decoded."""
    known = store.record(memo_key("thumbnail", picture), Digest)
    if known is not None and store.has(known):
        return Image.open(io.BytesIO(store.get_bytes(known))).convert("RGB")
    try:
        image = decode(store.get_bytes(picture), picture).image
    except ImageError:
        return None
    if image.mode == "RGBA":
        rgba = np.asarray(image)
        image = flatten(rgba, read_alpha(rgba).kind, _WHITE)
    return keep_thumbnail(store, picture, image)


def keep_thumbnail(store: Store, picture: str, image: Image.Image) -> Image.Image:
    """Make and keep the thumbnail of a picture, by its digest, while the picture (mode RGB) is at hand."""
    small = image.copy()
    small.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    store.set_record(memo_key("thumbnail", picture), store.put_bytes(png_bytes(small)))
    return small


# The other options are about the set: changing them makes no picture again.
_OF_ONE_PICTURE = {"size", "shape", "alpha", "background", "min_source_px"}
# What the hash is read from; it looks at 64 px, so that a quick mean over blocks comes first.
_HASHED_PX = 256


def preprocess(store: Store, raw: Manifest, options: Preprocess, progress: Progress = silent) -> Manifest:
    """Square pictures of one size on one background, from collected screenshots.

    Args:
        store: where pictures and their records are.
        raw: what `collect` found.
        options: size, transparency, background; what is too small, soft, or a near duplicate.
        progress: told after every picture.

    Raises:
        DatasetError: no picture survives.
    """
    of_one = options.model_dump(mode="json", include=_OF_ONE_PICTURE)

    def work(entry: Entry) -> dict[str, Any]:
        key = memo_key("preprocess", entry.image, of_one)
        return memo(store, key, dict[str, Any], lambda: _processed(store, entry, options), _pictures)

    entries: list[Entry] = []
    facts: list[Facts] = []
    rejected = list(raw.rejected)
    for entry, made in _each(raw.entries, work, progress):
        if "reason" in made:
            rejected.append(Rejected(source=entry.source, reason=made["reason"], image=entry.image))
            continue
        entries.append(_with_picture(entry, made))
        facts.append(Facts(made["hash"], made["blur"], made["alpha"]))
    reviewed, left_out = review(entries, facts, options)
    rejected = sorted([*rejected, *left_out], key=lambda one: one.source)
    if not reviewed:
        raise DatasetError(nothing_left("preprocess", rejected))
    return Manifest(entries=reviewed, rejected=tuple(rejected))


def downscale(store: Store, manifest: Manifest, size_px: int, progress: Progress = silent) -> Manifest:
    """Copies of every picture at a smaller size; names, compositions and captions stay.

    Raises:
        DatasetError: a picture is smaller than the copies are meant to be.
    """
    for entry in manifest.entries:
        if min(entry.width, entry.height) < size_px:
            raise DatasetError(
                f"{entry.source}: {entry.width}×{entry.height} pixels cannot be scaled down to {size_px}; "
                "lower downscale.size or raise preprocess.size"
            )

    def work(entry: Entry) -> dict[str, Any]:
        key = memo_key("downscale", entry.image, entry.mask, size_px)
        return memo(store, key, dict[str, Any], lambda: _scaled_down(store, entry, size_px), _pictures)

    return Manifest(
        entries=tuple(_with_picture(entry, made) for entry, made in _each(manifest.entries, work, progress)),
        rejected=manifest.rejected,
    )


def _each(
    entries: tuple[Entry, ...], work: Callable[[Entry], dict[str, Any]], progress: Progress
) -> list[tuple[Entry, dict[str, Any]]]:
    done = []
    with contextlib.closing(in_parallel(work, entries, lambda entry: entry.width * entry.height)) as results:
        for entry, made in zip(entries, results, strict=True):
            done.append((entry, made))
            progress(len(done), len(entries), entry.name)
    return done


def _pictures(made: dict[str, Any]) -> Iterator[str]:
    """Digests of the pictures that a record names; one that says why there is none names none."""
    return (str(made[name]) for name in ("image", "mask") if made.get(name))


def _with_picture(entry: Entry, made: dict[str, Any]) -> Entry:
    width, height = made["size"] if isinstance(made["size"], list | tuple) else (made["size"], made["size"])
    return entry.model_copy(
        update={
            "image": made["image"],
            "mask": made["mask"],
            "width": width,
            "height": height,
            "notes": (*entry.notes, *made["notes"]),
            "flags": (*entry.flags, *map(Flag.model_validate, made["flags"])),
        }
    )


def _processed(store: Store, entry: Entry, options: Preprocess) -> dict[str, Any]:
    """The record of one screenshot: its picture and what was measured on it, or the reason why there is none."""
    try:
        square = square_picture(store.get_bytes(entry.image), entry.source, options)
    except ImageError as error:
        return {"reason": str(error).removeprefix(f"{entry.source}: ")}
    picture = store.put_bytes(png_bytes(square.image))
    small = square.image.reduce(max(1, options.size // _HASHED_PX))
    keep_thumbnail(store, picture, small)
    return {
        "image": picture,
        "mask": None if square.mask is None else store.put_bytes(png_bytes(square.mask)),
        "size": _sides(square.image.size),
        "notes": square.notes,
        "flags": [flag.model_dump(mode="json") for flag in square.flags],
        "alpha": square.alpha,
        "hash": perceptual_hash(small),
        "blur": round(blur(square.image), 4),
    }


def _scaled_down(store: Store, entry: Entry, size_px: int) -> dict[str, Any]:
    image = decode(store.get_bytes(entry.image), entry.source).image
    size = copy_size(image.size, size_px)
    picture = png_bytes(resized(image.convert("RGB"), size))
    mask = None
    if entry.mask is not None:
        opaque = Image.open(io.BytesIO(store.get_bytes(entry.mask))).convert("L")
        mask = store.put_bytes(png_bytes(resized(opaque, size)))
    return {"image": store.put_bytes(picture), "mask": mask, "size": _sides(size), "notes": (), "flags": ()}


def copy_size(size: tuple[int, int], size_px: int) -> tuple[int, int]:
    """A small copy's: of a square just that; of a portrait the bucket-sized shape of least crop, no larger in area.

    Args:
        size: of the picture, (width, height).
        size_px: side of a square of the copy's area.
    """
    if size[0] == size[1]:
        return size_px, size_px
    step, area = 64 if size_px >= 256 else 8, size_px**2
    shapes = [
        (width, height)
        for width in range(step, 2 * size_px, step)
        for height in range(step, area // width + 1, step)
        if 4 * width * height >= 3 * area
    ]
    return min(shapes, key=lambda shape: abs(math.log(shape[0] / shape[1] * size[1] / size[0])))


def _sides(size: tuple[int, int]) -> int | tuple[int, int]:
    """As a record has it: a square's is one number."""
    return size[0] if size[0] == size[1] else size
