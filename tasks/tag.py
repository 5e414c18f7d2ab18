"""What the tagger sees in every picture, as raw scores."""

from lora_core.dataset import load_manifest, save_tags
from lora_core.refs import CheckpointRef, DatasetRef, TagsRef
from lora_core.tagging.tag import tag as read
from tasks.caching import step
from tasks.runtime import RunContext, progress


@step("tag")
def tag(pictures: DatasetRef, tagger: CheckpointRef, at: RunContext) -> TagsRef:
    """Raw scores above a low floor, so that moving a threshold never runs the tagger again."""
    store = at.open_store("tag")
    with progress("tag", "image") as listen:
        return save_tags(store, read(store, load_manifest(store, pictures), store.tree(tagger.sha256), listen))
