"""What the tagger sees in every picture, as raw scores."""

from collections.abc import Mapping
from pathlib import Path

from lora_core.dataset import Manifest, TagTable, load_manifest, save_tags
from lora_core.images import pipeline
from lora_core.recipe import Preprocess
from lora_core.refs import CheckpointRef, DatasetRef, TagsRef
from lora_core.store import Store
from lora_core.tagging.tag import tag as read
from tasks.caching import step
from tasks.runtime import RunContext, progress


@step("tag")
def tag(pictures: DatasetRef, tagger: CheckpointRef, at: RunContext) -> TagsRef:
    """Raw scores above a low floor, so that moving a threshold never runs the tagger again."""
    store = at.open_store("tag")
    with progress("tag", "image") as listen:
        return save_tags(store, read(store, load_manifest(store, pictures), store.tree(tagger.sha256), listen))


def prepared_and_tagged(
    store: Store, screenshots: Manifest, options: Preprocess, tagger: Mapping[str, Path]
) -> tuple[Manifest, TagTable]:
    """Square pictures and their scores before any run; each picture is done once, for this and for every run.

    The caller holds the store.
    """
    with progress("preprocess", "image") as listen:
        squares = pipeline.preprocess(store, screenshots, options, listen)
    with progress("tag", "image") as listen:
        return squares, read(store, squares, tagger, listen)
