"""The content rule, and the caption edits."""

from functools import partial

from lora_core.captions import content
from lora_core.captions.caption import EditedCaptions, caption, load_captions, save_captions
from lora_core.captions.content import Said
from lora_core.captions.rule_file import rules_for
from lora_core.captions.rules import Rules
from lora_core.captions.wardrobe import with_clothes
from lora_core.dataset import load_manifest, load_tags, save_manifest
from lora_core.recipe import Recipe
from lora_core.refs import CaptionsRef, CheckpointRef, DatasetRef, TagsRef
from lora_core.tagging.select import Thresholds, select
from tasks.caching import step
from tasks.runtime import RunContext, progress
from tasks.walking import helper, idle_walk


@helper(peek="run")
def find_rules(recipe: Recipe) -> Rules:
    """The recipe's caption rules, under those of its rule file."""
    return rules_for(recipe.captions, recipe.trigger, recipe.wardrobe)


@helper()
def check_content(
    pictures: tuple[DatasetRef, ...],
    tags: tuple[TagsRef, ...],
    words: tuple[str | Said, ...],
    base: CheckpointRef,
    at: RunContext,
) -> None:
    """Refuse what the content rule forbids, before anything is trained: all sets of a run together, and its words."""
    store = at.open_store()
    sets = [(load_manifest(store, each), load_tags(store, its)) for each, its in zip(pictures, tags, strict=True)]
    content.check(sets, (*words, *_stated(base, at)))


def refuse_at_once(
    words: tuple[str | Said, ...], base: CheckpointRef, tagger: CheckpointRef, tagger_name: str, at: RunContext
) -> None:
    """Ask the content rule what can be asked before any work: the words, the base, and whether the tagger can see."""
    from lora_core.captions.content import check_tagger

    if idle_walk():
        return
    store = at.open_store()
    content.check((), (*words, *_stated(base, at)))
    check_tagger(store.tree(tagger.sha256), store.tree(base.sha256, checked=False), tagger_name)


def _stated(base: CheckpointRef, at: RunContext) -> tuple[Said, ...]:
    from lora_core.lora.metadata import stated_in

    files = at.open_store().tree(base.sha256, checked=False)
    return tuple(said for name, path in files.items() for said in stated_in(path, name))


@step("caption")
def edit_captions(
    pictures: DatasetRef, tags: TagsRef, rules: Rules, trigger: str, least: Thresholds, at: RunContext
) -> CaptionsRef:
    """A caption for every picture that leaves out what the character is."""
    store = at.open_store("caption")
    chosen = partial(select, least=least)
    with progress("caption", "image") as listen:
        manifest, table = load_manifest(store, pictures), load_tags(store, tags)
        rules = with_clothes(rules, manifest, table, chosen)
        captioned, edited = caption(manifest, table, rules, trigger, chosen)
        listen(len(edited), len(edited))
    made = EditedCaptions(trigger=trigger, manifest=captioned, edited=edited, outfits=rules.outfits)
    return save_captions(store, made)


@helper(peek="run")
def captioned(captions: CaptionsRef, at: RunContext) -> DatasetRef:
    """The pictures with their captions alone: a reason that reads differently must not make a training run again."""
    store = at.open_store()
    return save_manifest(store, load_captions(store, captions).manifest)
