"""The image steps of the graph; every picture is remembered on its own, so that a new one costs one picture's work."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from lora_core.dataset import Entry, Manifest, Rejected
from lora_core.errors import DatasetError, ImageError
from lora_core.images.alpha import AlphaReading, colour_of, flatten, read_alpha
from lora_core.images.collect import nothing_left
from lora_core.images.decode import decode
from lora_core.images.frame import Box, square_around, subject_of
from lora_core.images.resize import png_bytes, resized
from lora_core.progress import Progress, silent
from lora_core.recipe import Preprocess
from lora_core.store import Store, canonical_json, digest_of

# Raised when what comes out changes; recorded pictures of an older version are made again.
_PREPROCESS_VERSION = 1
_DOWNSCALE_VERSION = 1

# Decoding and resizing leave the interpreter free; more threads only hold more pictures in memory.
_MOST_WORKERS = 8


def preprocess(store: Store, raw: Manifest, options: Preprocess, progress: Progress = silent) -> Manifest:
    """Square pictures of one size on one background, from collected screenshots.

    Args:
        store: where pictures and their records are.
        raw: what `collect` found.
        options: size, transparency, background, smallest source.
        progress: told after every picture.

    Raises:
        DatasetError: no picture survives.
    """

    def work(entry: Entry) -> dict[str, Any]:
        key = digest_of(
            canonical_json(["preprocess", _PREPROCESS_VERSION, entry.image, options.model_dump(mode="json")])
        )
        return _remembered(store, key, lambda: _processed(store, entry, options))

    entries: list[Entry] = []
    rejected = list(raw.rejected)
    for entry, made in _each(raw.entries, work, progress):
        if "reason" in made:
            rejected.append(Rejected(source=entry.source, reason=made["reason"]))
            continue
        entries.append(_with_picture(entry, made))
    rejected.sort(key=lambda one: one.source)
    if not entries:
        raise DatasetError(nothing_left("preprocess", rejected))
    return Manifest(entries=tuple(entries), rejected=tuple(rejected))


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
        key = digest_of(canonical_json(["downscale", _DOWNSCALE_VERSION, entry.image, size_px]))
        return _remembered(store, key, lambda: _scaled_down(store, entry, size_px))

    return Manifest(
        entries=tuple(_with_picture(entry, made) for entry, made in _each(manifest.entries, work, progress)),
        rejected=manifest.rejected,
    )


def _each(
    entries: tuple[Entry, ...], work: Callable[[Entry], dict[str, Any]], progress: Progress
) -> list[tuple[Entry, dict[str, Any]]]:
    done = []
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_WORKERS)) as pool:
        for entry, made in zip(entries, pool.map(work, entries), strict=True):
            done.append((entry, made))
            progress(len(done), len(entries), entry.name)
    return done


def _remembered(store: Store, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was recorded under the key if its picture is still there, else made and recorded."""
    known = store.record(key)
    if isinstance(known, dict) and ("reason" in known or store.has(str(known.get("image")))):
        return known
    made = make()
    store.set_record(key, made)
    return made


def _with_picture(entry: Entry, made: dict[str, Any]) -> Entry:
    return entry.model_copy(
        update={
            "image": made["image"],
            "width": made["size"],
            "height": made["size"],
            "notes": (*entry.notes, *made["notes"]),
        }
    )


def _processed(store: Store, entry: Entry, options: Preprocess) -> dict[str, Any]:
    """The record of one screenshot: its picture and notes, or the reason why there is none."""
    try:
        image, notes = square_picture(store.get_bytes(entry.image), entry.source, options)
    except ImageError as error:
        return {"reason": str(error).removeprefix(f"{entry.source}: ")}
    return {"image": store.put_bytes(png_bytes(image)), "size": options.size, "notes": notes}


def _scaled_down(store: Store, entry: Entry, size_px: int) -> dict[str, Any]:
    image = decode(store.get_bytes(entry.image), entry.source).image
    if image.width != image.height:
        raise DatasetError(f"{entry.source}: {image.width}×{image.height} is not square; preprocess it first")
    return {"image": store.put_bytes(png_bytes(resized(image, size_px))), "size": size_px, "notes": []}


def square_picture(data: bytes, name: str, options: Preprocess) -> tuple[Image.Image, list[str]]:
    """One screenshot's journey: decode, find the subject, cut the square, flatten, resize.

    Args:
        data: the file's bytes.
        name: how messages call it.
        options: size, transparency, background, smallest source.

    Returns:
        A picture of `options.size` squared, mode RGB, and notes on what was decided.

    Raises:
        ImageError: it cannot be used.
    """
    decoded = decode(data, name)
    image, notes = decoded.image, list(decoded.notes)
    if max(image.size) < options.min_source_px:
        raise ImageError(
            f"{name}: {image.width}×{image.height} pixels, smaller than {options.min_source_px}; "
            "take a larger screenshot or lower preprocess.min_source_px"
        )
    subject = subject_of(image)
    if subject is None:
        raise ImageError(f"{name}: wholly transparent, nothing is on it; export it again")
    box = square_around(subject, image.width, image.height)
    square = _flat(_cut(image, box, colour_of(options.background)), options, notes)
    if box.width < options.size:
        notes.append(f"enlarged from {box.width} to {options.size} px: take larger screenshots")
    return resized(square, options.size), notes


def _cut(image: Image.Image, box: Box, background: tuple[int, int, int]) -> Image.Image:
    """The box out of the picture; beyond its edges the background, or nothing if the picture is transparent."""
    empty = (0, 0, 0, 0) if image.mode == "RGBA" else background
    canvas = Image.new(image.mode, (box.width, box.height), empty)
    canvas.paste(image, (-box.left, -box.top))
    return canvas


def _flat(image: Image.Image, options: Preprocess, notes: list[str]) -> Image.Image:
    """The picture on the background colour."""
    if image.mode != "RGBA":
        notes.append("no transparency: what is behind the subject stays; export with a transparent background")
        return image
    rgba = np.asarray(image)
    reading = read_alpha(rgba)
    if reading.kind == "opaque":
        return _flat(image.convert("RGB"), options, notes)
    kind = reading.kind if options.alpha == "detect" else options.alpha
    notes.append(_alpha_note(reading, options))
    return Image.fromarray(flatten(rgba, kind, colour_of(options.background)))


def _alpha_note(reading: AlphaReading, options: Preprocess) -> str:
    found = (
        f"{reading.bright_share:.3f} of {reading.edge_pixels} half-transparent pixels are brighter than their alpha"
        if reading.edge_pixels
        else "no half-transparent pixel"
    )
    if options.alpha != "detect":
        return f"transparency: {options.alpha}, as the recipe says ({found})"
    return f"transparency: {reading.kind} ({found})"
