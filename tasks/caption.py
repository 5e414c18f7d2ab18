"""The six caption edits and the content rule."""

from lora_core.captions.edit import caption
from lora_core.captions.rules import Rules
from lora_core.dataset import load_manifest, load_tags, save_manifest
from lora_core.refs import DatasetRef, TagsRef
from tasks.caching import step
from tasks.runtime import At, progress


@step("caption", version=1)
def edit_captions(pictures: DatasetRef, tags: TagsRef, rules: Rules, trigger: str, threshold: float, at: At) -> DatasetRef:
    """A caption for every picture that leaves out what the character is."""
    store = at.open_store("caption")
    with progress("caption", "image") as listen:
        captioned, edited = caption(load_manifest(store, pictures), load_tags(store, tags), rules, trigger, threshold)
        listen(len(edited), len(edited))
    return save_manifest(store, captioned)
