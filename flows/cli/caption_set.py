"""What `headcanon caption` works on: pictures, raw scores and rules, from a folder or from a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lora_core.captions.caption import caption_each
from lora_core.captions.check import MOST_TOKENS
from lora_core.captions.edit import Edited
from lora_core.captions.exchange import Situation
from lora_core.captions.rule_file import read_rules, rules_for
from lora_core.captions.rules import Rules
from lora_core.captions.wardrobe import with_clothes
from lora_core.dataset import Manifest, Scores, TagTable
from lora_core.errors import CaptionError
from lora_core.images.collect import collect, refuse_bad_pictures
from lora_core.images.composition import settle
from lora_core.recipe import Recipe
from lora_core.recipe_file import read_recipe
from lora_core.store import Store, open_store
from lora_core.tagging.select import Thresholds, select, thresholds

RULE_FILE = "captions.toml"
_USUAL_THRESHOLD = 0.5


@dataclass(frozen=True)
class CaptionSet:
    """A character's pictures and all that decides their captions.

    Attributes:
        source: the folder of pictures or screenshots, which is never written to.
        store: holds the pictures.
        manifest: the pictures.
        tags: their raw scores.
        situation: rules, trigger, and which scores are tags.
        rule_file: where the rules were read from, or are to be written; None: the recipe names none.
        most_tokens: of a caption that are trained.
    """

    source: Path
    store: Store
    manifest: Manifest
    tags: TagTable
    situation: Situation
    rule_file: Path | None
    most_tokens: int = MOST_TOKENS

    def captions(self) -> tuple[tuple[Edited, ...], dict[str, str]]:
        """What the rules make of the tags, and by picture why one can have no caption."""
        of = self.situation
        return caption_each(self.manifest, self.tags, of.rules, of.trigger, of.select)


@dataclass(frozen=True)
class Asked:
    """What the command line names.

    Attributes:
        src: a folder of pictures, or a recipe.
        tags: what `headcanon tag` wrote.
        rules: a captions.toml.
        threshold: least probability of a tag.
        store: folder of what was computed before.
        rules_needed: whether there is something to do without a rule file.
    """

    src: Path
    tags: Path | None
    rules: Path | None
    threshold: float | None
    store: Path
    rules_needed: bool = True

    @property
    def is_recipe(self) -> bool:
        """By its name."""
        return self.src.suffix.lower() == ".toml"

    @property
    def new_rule_file(self) -> Path:
        """Where a suggested rule file goes if nobody says."""
        return (self.src.parent if self.is_recipe else Path()) / RULE_FILE


def open_set(asked: Asked) -> CaptionSet:
    """Read pictures, scores and rules; a recipe's pictures are preprocessed and tagged if they are not yet.

    Raises:
        UserError: something is missing or cannot be read.
    """
    return _of_recipe(asked, read_recipe(asked.src)) if asked.is_recipe else _of_folder(asked)


def _of_folder(asked: Asked) -> CaptionSet:
    from lora_core.tagging.select import read_tags

    if asked.tags is None:
        raise CaptionError("--tags is missing: name the file that `headcanon tag` wrote for these pictures")
    if asked.rules is None and asked.rules_needed:
        raise CaptionError("--rules is missing: name a captions.toml; --suggest writes one to start from")
    rules = read_rules(asked.rules) if asked.rules and asked.rules_needed else Rules()
    if asked.rules_needed and not rules.trigger:
        raise CaptionError(f'{asked.rules}: no trigger; write trigger = "a_word_no_model_knows" at its top')
    least = asked.threshold or _USUAL_THRESHOLD
    store, scores = Store(asked.store), read_tags(asked.tags)
    store.hold()
    manifest = settle(collect(store, asked.src), scores, {})
    return CaptionSet(
        source=asked.src,
        store=store,
        manifest=manifest,
        tags=scores,
        situation=_situation(rules, rules.trigger, Thresholds(general=least, character=least), manifest, scores),
        rule_file=asked.rules,
    )


def _of_recipe(asked: Asked, recipe: Recipe) -> CaptionSet:
    if asked.rules is not None:
        named = recipe.captions.model_copy(update={"rules": str(asked.rules)})
        recipe = recipe.model_copy(update={"captions": named})
    least = thresholds(recipe.tagger)
    if asked.threshold is not None:
        least = least.model_copy(update={"general": asked.threshold, "character": asked.threshold})
    rules = rules_for(recipe.captions, recipe.trigger, recipe.wardrobe) if asked.rules_needed else Rules()
    found = set_of_recipe(recipe, rules, least)
    if recipe.preprocess.bad_pictures == "stop":
        refuse_bad_pictures(found.manifest)
    return replace(found, manifest=_placed(found.manifest, rules, recipe))


def set_of_recipe(recipe: Recipe, rules: Rules, least: Thresholds) -> CaptionSet:
    """A recipe's character, preprocessed and tagged if it is not yet; what a run would stop at is still in it.

    Raises:
        UserError: something is missing or cannot be read.
    """
    from lora_core.captions.content import check_tagger
    from lora_core.hub import find_tagger_files
    from tasks.tag import prepared_and_tagged

    tagger = find_tagger_files(recipe.tagger.model, recipe.tagger.revision)
    check_tagger(tagger, {}, recipe.tagger.model)
    store = open_store(recipe.runtime.store)
    store.hold()
    found = collect(store, Path(recipe.character.images))
    prepared, tags = prepared_and_tagged(store, found, recipe.preprocess, tagger)
    manifest = settle(prepared, tags, {})
    return CaptionSet(
        source=Path(recipe.character.images),
        store=store,
        manifest=manifest,
        tags=tags,
        situation=_situation(rules, recipe.trigger, least, manifest, tags),
        rule_file=Path(recipe.captions.rules) if recipe.captions.rules else None,
        most_tokens=recipe.character_training.max_token_length,
    )


def _placed(manifest: Manifest, rules: Rules, recipe: Recipe) -> Manifest:
    """Without the pictures that a run would leave out, since nobody knows their composition."""
    if recipe.preprocess.bad_pictures == "stop":
        return manifest
    said = {name for name, override in rules.images.items() if override.framing}
    kept = tuple(entry for entry in manifest.entries if entry.composition or entry.name in said)
    return manifest.model_copy(update={"entries": kept})


def _situation(rules: Rules, trigger: str, least: Thresholds, manifest: Manifest, tags: TagTable) -> Situation:
    def chosen(scores: Scores) -> Mapping[str, float]:
        return select(scores, least)

    return Situation(rules=with_clothes(rules, manifest, tags, chosen), trigger=trigger, select=chosen)
