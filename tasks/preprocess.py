"""Screenshots to square pictures on white; small copies beside them."""

from lora_core.dataset import load_manifest, save_manifest
from lora_core.images import pipeline
from lora_core.images.collect import refuse_bad_pictures
from lora_core.recipe import Preprocess
from lora_core.refs import DatasetRef
from tasks.caching import step
from tasks.runtime import RunContext, progress
from tasks.walking import helper


@step("preprocess")
def preprocess(screenshots: DatasetRef, options: Preprocess, at: RunContext) -> DatasetRef:
    """Flatten, crop, resize; what cannot be used is kept with its reason."""
    store = at.open_store("preprocess")
    with progress("preprocess", "image") as listen:
        manifest = pipeline.preprocess(store, load_manifest(store, screenshots), options, listen)
    if options.bad_pictures == "stop":
        refuse_bad_pictures(manifest)
    return save_manifest(store, manifest)


@helper(peek="run")
def without_remarks(pictures: DatasetRef, at: RunContext) -> DatasetRef:
    """The pictures alone: what was left out, and why, is for the report and must not make a training run again."""
    store = at.open_store()
    manifest = load_manifest(store, pictures)
    bare = tuple(entry.model_copy(update={"notes": (), "flags": (), "view": None}) for entry in manifest.entries)
    return save_manifest(store, manifest.model_copy(update={"entries": bare, "rejected": ()}))


@step("downscale")
def downscale(pictures: DatasetRef, size_px: int, at: RunContext) -> DatasetRef:
    """A small copy of every picture, with its caption."""
    store = at.open_store("downscale")
    with progress("downscale", "image") as listen:
        return save_manifest(store, pipeline.downscale(store, load_manifest(store, pictures), size_px, listen))
