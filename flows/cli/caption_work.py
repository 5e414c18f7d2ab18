"""What `headcanon caption` does."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import typer

from flows.cli import echo
from flows.cli.caption_set import Asked, CaptionSet, open_set
from lora_core.captions import content
from lora_core.captions.caption import caption, frequency_rows, lines, rare, report
from lora_core.captions.check import Finding, check_captions, check_lengths, examine, gathered
from lora_core.captions.edit import Edited
from lora_core.captions.exchange import (
    Edits,
    hand_edits,
    no_tags,
    read_texts,
    texts_of,
    with_overrides,
    write_folder,
)
from lora_core.captions.rule_file import read_rules, write_overrides
from lora_core.captions.suggest import Suggestion, rule_file, suggest
from lora_core.captions.tags import canonical, caption_text, spaced
from lora_core.captions.taxonomy import nearest
from lora_core.dataset import Manifest
from lora_core.diffusion.tokenizer import token_counter
from lora_core.errors import CaptionError, OutputExistsError
from lora_core.images.collect import collect, refuse_inside
from lora_core.printable import clipped, one_line
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
    _show_suggestion(found, path, for_recipe=asked.is_recipe)


def check_folder(asked: Asked) -> None:
    """Check the .txt files of a folder in place.

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
    pictures = collect(store, asked.src)
    texts = texts_of(pictures, read_texts(asked.src))
    content.check((), (*rules.words(), *(text for text in texts.values() if text)))
    worn = {entry.name: rules.outfit_of(entry.source) for entry in pictures.entries}
    checked = check_captions(texts, rules, rules.trigger, worn=worn)
    found = (*checked, *check_lengths(texts, token_counter()))
    _show_findings(found)
    _conclude(found, len(texts))


def take_hand_edits(subject: CaptionSet, folder: Path) -> CaptionSet:
    """The set with a folder's hand edits in its rules; they are written into its rule file as well.

    Raises:
        CaptionError: a text cannot be a caption, or there is no rule file; nothing is written then.
    """
    texts = read_texts(folder)
    changed, edits = take_texts(subject, texts)
    names = {entry.name for entry in subject.manifest.entries}
    for name, found in no_tags(texts_of(subject.manifest, texts)).items():
        for one in found:
            echo(f"! {name}: {clipped(one_line(one), 60)} is of a prompt and no tag; not taken over")
    _show_hand_edits(edits, len(names), sorted(set(texts) - names), changed.rule_file or Path())
    return changed


def take_texts(subject: CaptionSet, texts: Mapping[str, str]) -> tuple[CaptionSet, Mapping[str, Edits]]:
    """The set with hand-edited captions, by picture, in its rules and its rule file; and what they changed.

    Raises:
        CaptionError: a text cannot be a caption, or there is no rule file; nothing is written then.
    """
    if subject.rule_file is None:
        raise CaptionError(
            'the recipe names no rule file to take edits into; --suggest writes one: [captions] rules = "…"'
        )
    edits = hand_edits(texts_of(subject.manifest, texts), subject.manifest, subject.tags, subject.situation)
    changed = replace(
        subject, situation=replace(subject.situation, rules=with_overrides(subject.situation.rules, edits))
    )
    changed.captions()  # the content rule, before anything is written
    if edits:
        write_overrides(subject.rule_file, {name: one.override for name, one in edits.items()})
    return changed, edits


def make_captions(subject: CaptionSet, *, explain: bool, check: bool) -> None:
    """Show the captions that the rules make, and what is to be said of them.

    Raises:
        CaptionError: `check`, and something fails; or a picture can have no caption, once all others are shown.
    """
    situation, count_tokens = subject.situation, token_counter()
    edited, doubtful = subject.captions()
    if explain and edited:
        _show_captions(edited, situation.trigger, count_tokens)
        tokens = [count_tokens(caption_text(one.tags, situation.trigger)) for one in edited]
        echo(f"\nTokens a caption: {min(tokens)} to {max(tokens)} ({subject.most_tokens} are read)")
    found = examine(edited, situation.rules, situation.trigger, count_tokens, subject.most_tokens)
    _show_findings(found)
    for why in doubtful.values():
        typer.secho(f"✗ {why}", fg="red")
    if doubtful:
        pictures = len(edited) + len(doubtful)
        raise CaptionError(f"{len(doubtful)} of {pictures} pictures have no caption; the lines above say why")
    if check:
        _conclude(found, len(edited))


def explain_tag(subject: CaptionSet, tag: str) -> None:
    """One tag on every picture: how sure the tagger is of it, and what became of it by which rule.

    Raises:
        CaptionError: it is on no picture, before or after.
    """
    asked, entries = canonical(tag), {entry.name: entry for entry in subject.manifest.entries}
    edited, _ = subject.captions()
    known = {each for one in edited for each in (*one.before, *one.tags)}
    seen = {one.name: subject.tags.of(entries[one.name]).of(asked) for one in edited}
    if asked not in known and not any(seen.values()):
        near = nearest(asked, known)
        hint = f"; did you mean {spaced(near)}?" if near in known else ""
        raise CaptionError(f"--tag {tag}: is on no picture, and the tagger sees it on none{hint}")
    for one in edited:
        changes = [change for change in one.changes if change.tag == asked]
        became = "stays" if asked in one.tags else "no tag: below the threshold" if seen[one.name] else "no tag"
        became = next((f"{change.action} ({change.reason})" for change in changes), became)
        typer.secho(f"{one.name:<24} {seen[one.name] or 0:>5.2f}  {became}", fg="red" if "removed" in became else None)
    if any(change.tag == asked and change.kind in ("traits", "foreign") for one in edited for change in one.changes):
        echo(f'To keep it, write it into the rule file: keep = ["{asked}"]')


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
    echo(f"{len(edited)} pictures with captions in {out}")


def _captioned(subject: CaptionSet) -> tuple[Manifest, tuple[Edited, ...]]:
    situation = subject.situation
    return caption(subject.manifest, subject.tags, situation.rules, situation.trigger, situation.select)


_COLOURS = {"−": "red", "+": "green"}


def _show_suggestion(found: Suggestion, path: Path, *, for_recipe: bool) -> None:
    """What is probably the character, what is doubtful, and what to do with the file."""
    for title, candidates in (("Probably the character", found.traits), ("Doubtful", found.doubtful)):
        if candidates:
            echo(f"{title}:")
        for one in candidates:
            echo(f"  {one.tag:<24} {one.family:<18} {one.figure}")
    echo(f"Wrote {path}. Read it: what is the character's goes under memorize, its clothes under outfit.")
    if for_recipe:
        echo(f'Name it in the recipe: [captions] rules = "{path.name}"')


def _show_captions(edited: Sequence[Edited], trigger: str, count_tokens: Callable[[str], int]) -> None:
    """Every caption before and after, then how often each tag was there before and is there now."""
    tokens = [count_tokens(caption_text(one.tags, trigger)) for one in edited]
    for one, count in zip(edited, tokens, strict=True):
        for line in lines(one, trigger, count):
            typer.secho(line, fg=_COLOURS.get(line.lstrip()[:1]))
        echo()
    few = rare(edited)
    echo(f"{'tag':<28} {'before':>7} {'after':>7}")
    for tag, before, after in frequency_rows(edited):
        counts = f"{tag if tag == trigger else spaced(tag):<28} {before or '–':>7} {after or '–':>7}"
        echo(f"{counts}  {', '.join(few.get(tag, ()))}".rstrip())


def _show_findings(found: Iterable[Finding]) -> None:
    """One line a matter."""
    for finding in gathered(found):
        typer.secho(f"{'✗' if finding.fails else '!'} {finding}", fg="red" if finding.fails else "yellow")


def _conclude(found: Iterable[Finding], captions: int) -> None:
    """What a check came to.

    Raises:
        CaptionError: something fails, so that the command ends with exit status 2.
    """
    failing = {finding.where for finding in found if finding.fails}
    if failing:
        raise CaptionError(f"{len(failing)} of {captions} captions fail the check; the lines above say why")
    echo(f"{captions} captions checked, none fails")


def _show_hand_edits(edits: Mapping[str, Edits], captions: int, strangers: Sequence[str], rule_file: Path) -> None:
    """What was edited by hand, and texts that belong to no picture."""
    for name, one in edits.items():
        echo(name)
        for mark, tags in (("+", one.added), ("−", one.removed)):
            if tags:
                typer.secho(f"  {mark} {', '.join(spaced(tag) for tag in tags)}", fg=_COLOURS[mark])
    for stranger in strangers:
        echo(f"! {stranger}.txt: there is no picture of this name; not used")
    where = f"; written to {rule_file}" if edits else ""
    echo(f"{len(edits)} of {captions} captions were edited by hand{where}")
