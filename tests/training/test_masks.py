"""The mask of a screenshot's transparency on its way to the loss."""

import io

import pytest
import torch
from PIL import Image, ImageDraw

from lora_core.dataset import Entry, Manifest
from lora_core.errors import ImageError
from lora_core.images.pipeline import downscale, preprocess
from lora_core.recipe import Preprocess, Training
from lora_core.store import Store
from lora_core.training.batch import draw_batch
from lora_core.training.latents import latent_masks
from lora_core.training.samples import Picture, Sample, TrainingSet, pictures_of


def screenshot(store: Store, *, transparent: bool) -> Entry:
    """A red square on the left half of 128 × 128 pixels."""
    mode, empty = ("RGBA", (0, 0, 0, 0)) if transparent else ("RGB", (255, 255, 255))
    image = Image.new(mode, (128, 128), empty)
    ImageDraw.Draw(image).rectangle((0, 0, 63, 127), fill=(200, 0, 0, 255) if transparent else (200, 0, 0))
    image.putpixel((127, 127), (1, 1, 1, 255) if transparent else (1, 1, 1))  # so that the crop stays whole
    data = io.BytesIO()
    image.save(data, "png")
    return Entry(name="a", source="a.png", image=store.put_bytes(data.getvalue()), width=128, height=128)


def prepared(store: Store, *, transparent: bool) -> Manifest:
    raw = Manifest(entries=(screenshot(store, transparent=transparent),))
    return preprocess(store, raw, Preprocess(size=256, min_source_px=64))


def pictures(manifest: Manifest, resolution_px: int) -> tuple[Picture, ...]:
    return pictures_of((TrainingSet(manifest, 1, False, "hc_hero", resolution_px),))


def test_what_was_opaque_counts_and_what_was_not_does_not(store: Store) -> None:
    manifest = prepared(store, transparent=True)
    (mask,) = latent_masks(store, pictures(manifest, 256))
    assert mask.shape == (1, 32, 32)
    assert torch.equal(mask[0, :, :15], torch.ones(32, 15))
    assert torch.equal(mask[0, :28, 17:], torch.zeros(28, 15))
    (small,) = latent_masks(store, pictures(downscale(store, manifest, 64), 64))
    assert small.shape == (1, 8, 8)
    assert small[0, 0].tolist() == pytest.approx([1, 1, 1, 1, 0, 0, 0, 0], abs=0.1)


def test_a_screenshot_without_transparency_counts_whole(store: Store) -> None:
    manifest = prepared(store, transparent=False)
    assert manifest.entries[0].mask is None
    (mask,) = latent_masks(store, pictures(manifest, 256))
    assert torch.equal(mask, torch.ones(1, 32, 32))


def test_a_batch_has_the_masks_of_its_samples() -> None:
    entry = Entry(name="a", source="a.png", image="0" * 64, width=64, height=64)
    shown = pictures(Manifest(entries=(entry, entry.model_copy(update={"name": "b"}))), 64)
    masks = [torch.zeros(1, 8, 8), torch.ones(1, 8, 8)]
    batch = draw_batch([Sample(1, 0), Sample(0, 1)], shown, [torch.zeros(4, 8, 8)] * 2, Training(), 0, masks)
    assert batch.masks is not None
    assert batch.masks.flatten(1).mean(1).tolist() == [1, 0]


def test_a_damaged_mask_is_named(store: Store) -> None:
    entry = prepared(store, transparent=True).entries[0]
    broken = entry.model_copy(update={"mask": store.put_bytes(b"no picture")})
    with pytest.raises(ImageError, match=r"a\.png: its mask"):
        latent_masks(store, pictures(Manifest(entries=(broken,)), 256))
