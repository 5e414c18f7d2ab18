"""A character as the page shows it: pictures with their captions and reasons, what a run would do.

Runs in the helper process (`flows.studio.helper`), since pictures are prepared and tagged here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.filesize import decimal

from flows.cli.caption_set import RULE_FILE, CaptionSet, set_of_recipe
from flows.cli.caption_work import take_texts
from flows.cost import costs, probe, room
from flows.graph import peek
from flows.place import AllowedFolders
from flows.plan import DryRun, dry_run
from flows.request import at_of, recipe_of, recipe_of_run
from flows.studio.files import character_folder
from flows.studio.options import set_options
from flows.studio.web import page
from lora_core.captions.caption import reasons
from lora_core.captions.check import examine, gathered
from lora_core.captions.edit import Edited
from lora_core.captions.rule_file import rules_for, write_overrides
from lora_core.captions.rules import Override
from lora_core.captions.tags import caption_text
from lora_core.dataset import Entry, Rejected
from lora_core.diffusion.tokenizer import token_counter
from lora_core.errors import CaptionError, UserError
from lora_core.images.coverage import unequal_views
from lora_core.printable import duration, one_line, some
from lora_core.recipe import COMPOSITIONS, Recipe
from lora_core.store.files import write_atomically
from lora_core.tagging.select import thresholds
from tasks.compositions import framings
from tasks.runtime import RunContext

_EMPTY_RULES = b"# What holds for single pictures; written by the studio page and `headcanon caption`.\n"
_ABOUT_COMPOSITION = ("composition_in_doubt", "composition_contradicted")


class Picture(NamedTuple):
    """One screenshot: without a caption where its composition is in doubt."""

    entry: Entry
    composition: str
    flags: tuple[str, ...]
    caption: str
    before: str
    reasons: tuple[tuple[str, str, tuple[str, ...]], ...]


class Shown(NamedTuple):
    """All of a character but the options; `error` is what a run would stop at."""

    error: str = ""
    pictures: tuple[Picture, ...] = ()
    left_out: tuple[Rejected, ...] = ()
    findings: tuple[str, ...] = ()
    dry: DryRun | None = None
    figures: tuple[tuple[str, str, str], ...] = ()


def sheet(character: str, preset: str) -> str:
    """The part of the page about a character's pictures and the run to come."""
    compositions = {one: one.replace("_", " ") for one in COMPOSITIONS}
    return page("sheet", name=character, preset=preset, shown=show(character, preset), compositions=compositions)


def show(character: str, preset: str) -> Shown:
    """Prepare, tag and caption a character's pictures as a run would, and plan the run."""
    recipe = recipe_of(AllowedFolders(), character, preset=preset)
    shown, at = Shown(), at_of(recipe)
    try:
        subject = _set(recipe)
        left_out = tuple(one for one in subject.manifest.rejected if one.image or not one.harmless)
        edited, of = subject.captions()[0], subject.situation
        found = gathered(examine(edited, of.rules, of.trigger, token_counter())) if edited else ()
        shown = Shown("", tuple(_pictures(subject, edited)), left_out, tuple(map(str, found)))
        dry = dry_run(recipe, at)
        findings = (*unequal_views(dry.coverage), *shown.findings)
        return shown._replace(dry=dry, figures=tuple(_figures(dry, at)), findings=findings)
    except UserError as error:
        return shown._replace(error=one_line(error))


def _set(recipe: Recipe) -> CaptionSet:
    return set_of_recipe(recipe, rules_for(recipe.captions, recipe.trigger, recipe.wardrobe), thresholds(recipe.tagger))


def _pictures(subject: CaptionSet, edited: Sequence[Edited]) -> Iterator[Picture]:
    made, said = {one.name: one for one in edited}, framings(subject.situation.rules)
    for entry in subject.manifest.entries:
        settled = _ABOUT_COMPOSITION if entry.name in said else ()
        flags = tuple(flag.text for flag in entry.flags if flag.code not in settled)
        one, trigger = made.get(entry.name), subject.situation.trigger
        caption, before = (caption_text(tags, trigger) for tags in ((one.tags, one.before) if one else ((), ())))
        why = tuple(reasons(one) if one else ())
        yield Picture(entry, said.get(entry.name) or entry.composition or "", flags, caption, before, why)


def _figures(dry: DryRun, at: RunContext) -> Iterator[tuple[str, str, str]]:
    """What a run comes to: label, figure, and what is to be said of it. Empty: not measured here yet."""
    for training, plan in (("style", dry.style), ("character", dry.character), ("final", dry.redrawn)):
        if plan:
            epochs = f"{len(plan.epoch_steps)} epochs of {plan.samples_per_epoch:,} samples"
            yield f"{training} LoRA", f"{plan.total_steps:,} steps", epochs
    to_do, disk = costs(dry, at), room(dry, at)
    seconds, unknown = sum(one.seconds or 0 for one in to_do), [one.step for one in to_do if one.seconds is None]
    told = f"not measured here yet: {some(unknown)}" if unknown else "to train and draw, at this machine’s pace"
    yield "Time", duration(seconds) if seconds else "" if unknown else "–", told if to_do else "nothing is left to do"
    yield "Memory", decimal(dry.memory.bytes), "for training, about"
    enough = "" if disk.needed <= disk.free else ", which is not enough"
    yield "Disk", decimal(disk.needed), f"will be written, about; {decimal(disk.free)} are free{enough}"
    left = [step.step for step in dry.peeked.steps if not step.ref]
    done = f"{len(dry.peeked.steps) - len(left)} of {len(dry.peeked.steps)}"
    yield "Cached", done, f"to do: {some(list(dict.fromkeys(left)))}" if left else "all of it is done"


def measure(character: str, preset: str) -> None:
    """Train and draw a few steps, as a run would, so that it is known how long that takes here."""
    recipe = recipe_of(AllowedFolders(), character, preset=preset)
    probe(dry_run(recipe, at := at_of(recipe)), at)


def set_caption(character: str, preset: str, picture: str, text: str, seen: str) -> None:
    """Take a caption that was edited on the page into the rule file.

    Raises:
        CaptionError: it cannot be a caption, or somebody else has changed it since it was shown.
    """
    subject = _with_rule_file(character, preset)
    pictures = _pictures(subject, subject.captions()[0])
    now = next((one.caption for one in pictures if one.entry.name == picture), "")
    if now != seen:
        raise CaptionError(f"{picture}: was changed elsewhere meanwhile, to: {now}; look at it, then edit again")
    take_texts(subject, {picture: text})


def set_composition(character: str, preset: str, picture: str, composition: str) -> None:
    """Say a picture's composition in the rule file.

    Raises:
        CaptionError: there is no such composition, or no such picture.
    """
    subject = _with_rule_file(character, preset)
    if composition not in COMPOSITIONS or picture not in {entry.name for entry in subject.manifest.entries}:
        raise CaptionError(f"{picture}: {composition!r} is no composition of it; there are {', '.join(COMPOSITIONS)}")
    before = subject.situation.rules.images.get(picture, Override()).model_dump(exclude_defaults=True)
    if subject.rule_file:
        write_overrides(subject.rule_file, {picture: Override.model_validate({**before, "framing": composition})})


def _with_rule_file(character: str, preset: str) -> CaptionSet:
    """The character's set, with a rule file of its own made if its recipe names none."""
    place = AllowedFolders()
    recipe = recipe_of(place, character, preset=preset)
    if not recipe.captions.rules:
        file = character_folder(place, character) / RULE_FILE
        if not file.exists():
            write_atomically(file, _EMPTY_RULES)
        set_options(character, preset, {"captions.rules": RULE_FILE})
        recipe = recipe_of(place, character, preset=preset)
    place.inside(recipe.captions.rules, "captions.rules")  # a preset may name any file; a form writes only to these
    return _set(recipe)


def lanes(started_with: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The steps of a run in order, in two lanes: what hangs on no character's picture is the style's."""
    recipe = recipe_of_run(AllowedFolders(), started_with)
    found: dict[str, list[str]] = {"style": [], "character": []}
    of: list[str] = []
    for visit in peek(recipe, at_of(recipe), "report").steps:
        own = visit.branch == "character" or visit.step == "check captions"
        of.append("character" if own or "character" in (of[each] for each in visit.after) else "style")
        found[of[-1]].append(f"{visit.step} {visit.branch}".strip())  # as Prefect's UI calls it
    return {"style": tuple(found["style"]), "character": (*found["character"], "publish")}


def epochs_of(started_with: Mapping[str, Any]) -> str:
    """Digest of the finished epochs that a run with these parameters would find; empty: it would train."""
    recipe = recipe_of_run(AllowedFolders(), started_with)
    lora = peek(recipe, at_of(recipe)).artifacts.lora
    return "" if lora.is_pending else lora.sha256
