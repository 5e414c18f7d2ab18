"""The caption step: raw scores in, a manifest with captions out, and what was changed for every picture."""

from lora_core.captions import content
from lora_core.captions.edit import Edited, Select, edit
from lora_core.captions.rules import Rules, check_names
from lora_core.dataset import Manifest, TagTable
from lora_core.errors import CaptionError


def caption(
    manifest: Manifest, tags: TagTable, rules: Rules, trigger: str, select: Select
) -> tuple[Manifest, tuple[Edited, ...]]:
    """Captions for every picture, after the content rule has let the set pass.

    Args:
        manifest: the pictures.
        tags: their raw scores.
        rules: what is the character's; a trigger in them goes before the one given here.
        trigger: the word that calls the character.
        select: which scores are tags to begin with.

    Raises:
        ContentRuleError: the set is sexual and codes a minor.
        CaptionError: no trigger, a composition that nobody said, or an override for a picture that is not there.
        DatasetError: the scores were made for other pictures.
    """
    called = rules.trigger or trigger
    if not called:
        raise CaptionError('no trigger: write trigger = "a_word_no_model_knows" into the rule file')
    content.check([(manifest, tags)], (called, *rules.words()))
    check_names(rules, tuple(entry.name for entry in manifest.entries))
    edited = tuple(edit(entry, tags.of(entry), rules, called, select) for entry in manifest.entries)
    entries = tuple(
        entry.model_copy(update={"caption": one.tags}) for entry, one in zip(manifest.entries, edited, strict=True)
    )
    captioned = manifest.model_copy(update={"entries": entries})
    content.check([(captioned, tags)], (called,))
    return captioned, edited
