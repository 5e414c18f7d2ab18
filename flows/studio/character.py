"""A character as the page shows it: pictures with their captions and reasons, what a run would do, the options.

Runs in the helper process (`flows.studio.helper`), since pictures are prepared and tagged here.
"""

from pathlib import Path
from typing import NamedTuple

from flows.cli.caption_set import CaptionSet, set_of_recipe
from flows.cli.caption_work import take_texts
from flows.cost import Cost, costs
from flows.graph import peek
from flows.place import AllowedFolders
from flows.plan import DryRun, dry_run
from flows.request import at_of, recipe_of
from flows.studio.options import folder_of, set_options
from flows.studio.pages import page
from lora_core.captions.caption import caption_each, reasons
from lora_core.captions.check import examine, gathered
from lora_core.captions.edit import Edited
from lora_core.captions.rule_file import rules_for, write_overrides
from lora_core.captions.rules import Override
from lora_core.captions.tags import caption_text
from lora_core.dataset import Entry, Rejected
from lora_core.diffusion.tokenizer import token_counter
from lora_core.errors import CaptionError, UserError
from lora_core.images.coverage import unequal_views
from lora_core.printable import one_line
from lora_core.recipe import COMPOSITIONS, Recipe
from lora_core.store.files import write_atomically
from lora_core.tagging.select import thresholds
from tasks.compositions import framings

RULE_FILE = "captions.toml"
_EMPTY_RULES = (
    "# What single pictures are told apart from the rest; written by the studio page and `headcanon caption`.\n"
)


class Picture(NamedTuple):
    """One screenshot: without a caption where its composition is in doubt."""

    entry: Entry
    composition: str
    flags: tuple[str, ...]
    caption: str
    before: str
    edited: Edited | None

    @property
    def reasons(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """What was done to its tags, and by which rule."""
        return list(reasons(self.edited)) if self.edited else []


class Shown(NamedTuple):
    """All of a character but the options; `error` is what a run would stop at."""

    error: str = ""
    pictures: tuple[Picture, ...] = ()
    left_out: tuple[Rejected, ...] = ()
    findings: tuple[str, ...] = ()
    dry: DryRun | None = None
    costs: tuple[Cost, ...] = ()
    remarks: tuple[str, ...] = ()


def sheet(character: str, preset: str) -> str:
    """The part of the page about a character's pictures and the run to come."""
    return page("sheet", name=character, preset=preset, shown=show(character, preset), compositions=COMPOSITIONS)


def show(character: str, preset: str) -> Shown:
    """Prepare, tag and caption a character's pictures as a run would, and plan the run."""
    recipe = recipe_of(AllowedFolders(), character, preset=preset)
    shown, at = Shown(), at_of(recipe)
    try:
        shown = _captions(recipe)
        dry = dry_run(recipe, at)
        return shown._replace(dry=dry, costs=costs(dry, at), remarks=unequal_views(dry.coverage))
    except UserError as error:
        return shown._replace(error=one_line(error))


def _captions(recipe: Recipe) -> Shown:
    subject = _set(recipe)
    situation, rules = subject.situation, subject.situation.rules
    edited, _ = caption_each(subject.manifest, subject.tags, rules, situation.trigger, situation.select)
    made, said = {one.name: one for one in edited}, framings(rules)
    pictures = []
    for entry in subject.manifest.entries:
        one, settled = made.get(entry.name), entry.name in said
        flags = (flag.text for flag in entry.flags if not (settled and flag.code in _ABOUT_COMPOSITION))
        composition = said.get(entry.name) or entry.composition or ""
        texts = [caption_text(tags, situation.trigger) for tags in (one.tags, one.before)] if one else ["", ""]
        pictures.append(Picture(entry, composition, tuple(flags), texts[0], texts[1], one))
    left_out = tuple(one for one in subject.manifest.rejected if one.image or not one.harmless)
    found = gathered(examine(edited, rules, situation.trigger, token_counter())) if edited else ()
    return Shown(pictures=tuple(pictures), left_out=left_out, findings=tuple(map(str, found)))


_ABOUT_COMPOSITION = ("composition_in_doubt", "composition_contradicted")


def _set(recipe: Recipe) -> CaptionSet:
    return set_of_recipe(recipe, rules_for(recipe.captions, recipe.trigger, recipe.wardrobe), thresholds(recipe.tagger))


def set_caption(character: str, preset: str, picture: str, text: str, seen: str) -> None:
    """Take a caption that was edited on the page into the rule file.

    Raises:
        CaptionError: it cannot be a caption, or somebody else has changed it since it was shown.
    """
    subject = _with_rule_file(character, preset)
    situation = subject.situation
    edited, _ = caption_each(subject.manifest, subject.tags, situation.rules, situation.trigger, situation.select)
    now = next((caption_text(one.tags, situation.trigger) for one in edited if one.name == picture), "")
    if now != seen:
        raise CaptionError(f"{picture}: was changed elsewhere meanwhile, to: {now}; look at it, then edit again")
    take_texts(subject, {picture: text})


def set_composition(character: str, preset: str, picture: str, composition: str) -> None:
    """Say a picture's composition in the rule file.

    Raises:
        CaptionError: there is no such composition, or no such picture.
    """
    subject = _with_rule_file(character, preset)
    known = next((one for one in COMPOSITIONS if one == composition), None)
    if known is None or picture not in {entry.name for entry in subject.manifest.entries}:
        raise CaptionError(f"{picture}: {composition!r} is no composition of it; there are {', '.join(COMPOSITIONS)}")
    before = subject.situation.rules.images.get(picture)
    changed = {**(before.model_dump(exclude_defaults=True) if before else {}), "framing": known}
    write_overrides(_rule_file(subject), {picture: Override.model_validate(changed)})


def _rule_file(subject: CaptionSet) -> Path:
    if subject.rule_file is None:
        raise CaptionError("the recipe names no rule file")
    return subject.rule_file


def _with_rule_file(character: str, preset: str) -> CaptionSet:
    """The character's set, with a rule file of its own made if its recipe names none."""
    place = AllowedFolders()
    recipe = recipe_of(place, character, preset=preset)
    if not recipe.captions.rules:
        file = folder_of(place, character) / RULE_FILE
        if not file.exists():
            write_atomically(file, _EMPTY_RULES.encode())
        set_options(character, preset, {"captions.rules": RULE_FILE})
        recipe = recipe_of(place, character, preset=preset)
    place.inside(recipe.captions.rules, "captions.rules")  # a preset may name any file; a form writes only to these
    return _set(recipe)


def lanes(character: str, folder: str, preset: str, base: str) -> tuple[tuple[str, str], ...]:
    """The steps of a run in order, each with its lane: what hangs on no character's picture is the style's."""
    recipe = recipe_of(AllowedFolders(), character, folder, preset, base)
    found: list[tuple[str, str]] = []  # called as Prefect's UI calls them
    for visit in peek(recipe, at_of(recipe), "report").steps:
        its = visit.branch == "character" or visit.step == "check captions"
        its = its or any(found[each][1] == "character" for each in visit.after)
        found.append((f"{visit.step} {visit.branch}".strip(), "character" if its else "style"))
    return (*found, ("publish", "character"))


def epochs_of(character: str, folder: str, preset: str, base: str) -> str:
    """Digest of the finished epochs that a run with these parameters would find; empty: it would train."""
    recipe = recipe_of(AllowedFolders(), character, folder, preset, base)
    lora = peek(recipe, at_of(recipe)).artifacts.lora
    return "" if lora.is_pending else lora.sha256
