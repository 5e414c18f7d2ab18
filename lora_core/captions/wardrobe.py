"""Several outfits of one character: which picture shows which, and what each of them is."""

from lora_core.captions.edit import Select
from lora_core.captions.rules import Rules
from lora_core.captions.suggest import suggest
from lora_core.captions.tags import canonical
from lora_core.dataset import Manifest, TagTable
from lora_core.errors import CaptionError
from lora_core.recipe import Outfit


def with_clothes(rules: Rules, manifest: Manifest, tags: TagTable, select: Select) -> Rules:
    """The rules with the tags of outfits that say none: the clothes on at least four in ten of their pictures."""

    def known(outfit: Outfit) -> Outfit:
        its = tuple(entry for entry in manifest.entries if rules.outfit_of(entry.source) == outfit)
        if outfit.tags or not outfit.words or not its:
            return outfit
        clothes = suggest(Manifest(entries=its), tags, select).clothes
        return outfit.model_copy(update={"tags": tuple(one.tag for one in clothes)})

    return rules.model_copy(update={"outfits": tuple(map(known, rules.outfits))}) if rules.outfits else rules


def dressed(manifest: Manifest, rules: Rules) -> Manifest:
    """The pictures with what is worn on each, and how often it is shown.

    Raises:
        CaptionError: an outfit of which there is no picture.
    """
    worn = {entry.name: rules.outfit_of(entry.source) for entry in manifest.entries}
    if unseen := next((outfit for outfit in rules.outfits if outfit not in worn.values()), None):
        stands = f", so {unseen.words!r} would stand for nothing" if unseen.words else ""
        raise CaptionError(
            f"outfits: no picture in {unseen.folder!r} can be used{stands}; put screenshots there, or take it away"
        )
    entries = tuple(
        entry.model_copy(update={"outfit": canonical(outfit.words), "repeats": outfit.repeats})
        if (outfit := worn[entry.name])
        else entry
        for entry in manifest.entries
    )
    return manifest.model_copy(update={"entries": entries})
