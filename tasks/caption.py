"""The content rule, and the six caption edits."""

from lora_core.captions import content
from lora_core.captions.caption import caption
from lora_core.captions.rules import Rules, rules_for
from lora_core.dataset import load_manifest, load_tags, save_manifest
from lora_core.errors import CaptionError
from lora_core.recipe import Captions
from lora_core.refs import DatasetRef, TagsRef
from tasks.caching import look, step
from tasks.runtime import At, progress


@look("find rules")
def find_rules(options: Captions, trigger: str) -> Rules:
    """The recipe's caption rules, under those of its rule file."""
    rules = rules_for(options)
    if rules.trigger not in ("", trigger):
        raise CaptionError(
            f"{options.rules}: trigger {rules.trigger!r} is not the recipe's, {trigger!r}; leave one out"
        )
    return rules


@look("content rule")
def check_content(pictures: DatasetRef, tags: TagsRef, words: tuple[str, ...], at: At) -> None:
    """Refuse a set that the content rule forbids, before anything is trained on it."""
    store = at.open_store()
    content.check(load_manifest(store, pictures), load_tags(store, tags), words)


@step("caption", version=1)
def edit_captions(
    pictures: DatasetRef, tags: TagsRef, rules: Rules, trigger: str, threshold: float, at: At
) -> DatasetRef:
    """A caption for every picture that leaves out what the character is."""
    store = at.open_store("caption")
    with progress("caption", "image") as listen:
        captioned, edited = caption(load_manifest(store, pictures), load_tags(store, tags), rules, trigger, threshold)
        listen(len(edited), len(edited))
    return save_manifest(store, captioned)
