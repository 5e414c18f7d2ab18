"""What `headcanon caption` does."""

from dataclasses import replace
from pathlib import Path

from flows.cli import caption_show
from flows.cli.caption_set import Asked, CaptionSet, open_set
from lora_core.captions import content
from lora_core.captions.caption import caption, report
from lora_core.captions.check import check_captions, check_lengths, examine
from lora_core.captions.edit import Edited
from lora_core.captions.exchange import hand_edits, read_texts, texts_of, with_overrides, write_folder
from lora_core.captions.rule_file import read_rules, write_overrides
from lora_core.captions.suggest import rule_file, suggest
from lora_core.dataset import Manifest
from lora_core.diffusion.tokenizer import token_counter
from lora_core.errors import CaptionError, OutputExistsError
from lora_core.images.collect import collect, refuse_inside
from lora_core.store import Store
from lora_core.store.files import write_atomically


def suggest_rules(asked: Asked) -> None:
    """Write a rule file to start from.

    Raises:
        OutputExistsError: there is one already.
    """
    subject = open_set(asked)
    path = subject.rule_file or asked.new_rule_file
    if path.exists():
        raise OutputExistsError(f"{path}: exists and is not overwritten; name another file with --rules")
    found = suggest(subject.manifest, subject.tags, subject.situation.select)
    write_atomically(path, rule_file(found, subject.situation.trigger).encode())
    caption_show.suggestion(found, path, for_recipe=asked.is_recipe)


def check_folder(asked: Asked) -> None:
    """Check the .txt files of a folder as they lie there.

    Raises:
        CaptionError: something fails, or there is no rule file with a trigger.
        ContentRuleError: the texts say what is never trained on.
    """
    if asked.rules is None:
        raise CaptionError("--rules is missing: name the captions.toml that these captions should keep to")
    rules = read_rules(asked.rules)
    if not rules.trigger:
        raise CaptionError(f'{asked.rules}: no trigger; write trigger = "a_word_no_model_knows" at its top')
    store = Store(asked.store)
    store.hold()
    texts = texts_of(collect(store, asked.src), read_texts(asked.src))
    content.check((), (*rules.words(), *(text for text in texts.values() if text)))
    found = (*check_captions(texts, rules, rules.trigger), *check_lengths(texts, token_counter()))
    caption_show.findings(found)
    caption_show.conclusion(found, len(texts))


def take_hand_edits(subject: CaptionSet, folder: Path) -> CaptionSet:
    """The set with a folder's hand edits in its rules; they are written into its rule file as well.

    Raises:
        CaptionError: a text cannot be a caption, or there is no rule file; nothing is written then.
    """
    if subject.rule_file is None:
        raise CaptionError(
            'the recipe names no rule file to take edits into; --suggest writes one: [captions] rules = "…"'
        )
    texts = read_texts(folder)
    edits = hand_edits(texts_of(subject.manifest, texts), subject.manifest, subject.tags, subject.situation)
    changed = replace(
        subject, situation=replace(subject.situation, rules=with_overrides(subject.situation.rules, edits))
    )
    _captioned(changed)  # the content rule, before anything is written
    if edits:
        write_overrides(subject.rule_file, {name: one.override for name, one in edits.items()})
    names = {entry.name for entry in subject.manifest.entries}
    caption_show.hand_edits(edits, len(names), sorted(set(texts) - names), subject.rule_file)
    return changed


def make_captions(subject: CaptionSet, *, explain: bool, check: bool) -> None:
    """Show the captions that the rules make, and what is to be said of them.

    Raises:
        CaptionError: `check`, and something fails.
    """
    situation, count_tokens = subject.situation, token_counter()
    _, edited = _captioned(subject)
    if explain:
        caption_show.stories(edited, situation.trigger, count_tokens)
    found = examine(edited, situation.rules, situation.trigger, count_tokens)
    caption_show.findings(found)
    if check:
        caption_show.conclusion(found, len(edited))


def write_captions(subject: CaptionSet, out: Path, *, escape: bool) -> None:
    """Write pictures and texts into a folder that must not lie in the source.

    Raises:
        OutputExistsError: a name is taken by something else.
    """
    refuse_inside(out, subject.source, "the output")
    captioned, edited = _captioned(subject)
    trigger = subject.situation.trigger
    made = report(edited, trigger, token_counter())
    write_folder(subject.store, captioned, out, trigger=trigger, escape=escape, report=made)
    caption_show.written(len(edited), out)


def _captioned(subject: CaptionSet) -> tuple[Manifest, tuple[Edited, ...]]:
    situation = subject.situation
    return caption(subject.manifest, subject.tags, situation.rules, situation.trigger, situation.select)
