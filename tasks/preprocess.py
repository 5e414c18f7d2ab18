"""Screenshots to square pictures on white; small copies beside them."""

from lora_core.dataset import load_manifest, save_manifest
from lora_core.images import pipeline
from lora_core.recipe import Preprocess
from lora_core.refs import DatasetRef
from tasks.caching import step
from tasks.runtime import At, progress


@step("preprocess", version=1)
def preprocess(screenshots: DatasetRef, options: Preprocess, at: At) -> DatasetRef:
    """Flatten, crop, resize; what cannot be used is kept with its reason."""
    store = at.open_store("preprocess")
    with progress("preprocess", "image") as listen:
        return save_manifest(store, pipeline.preprocess(store, load_manifest(store, screenshots), options, listen))


@step("downscale", version=1)
def downscale(pictures: DatasetRef, size_px: int, at: At) -> DatasetRef:
    """A small copy of every picture, with its caption."""
    store = at.open_store("downscale")
    with progress("downscale", "image") as listen:
        return save_manifest(store, pipeline.downscale(store, load_manifest(store, pictures), size_px, listen))
