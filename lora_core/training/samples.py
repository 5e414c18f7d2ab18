"""Which picture is shown when and at which size: exact, and known before the first step.

Every picture is shown exactly `repeats` times an epoch. The order depends on (seed, epoch) and nothing else; what is
drawn for a sample (noise, timestep, caption order) depends on (seed, epoch, position) and nothing else.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from lora_core.captions.tags import spaced
from lora_core.dataset import Entry, Manifest
from lora_core.device import counter_generator
from lora_core.errors import CaptionError, DatasetError
from lora_core.recipe import CharacterTraining, Downscale, Regularization
from lora_core.training.buckets import Placement, place

_ORDER, _DRAW = 1, 2


@dataclass(frozen=True)
class TrainingSet:
    """Pictures trained in the same way.

    Attributes:
        manifest: the pictures and their captions.
        repeats: how often an epoch shows each; of a regularization set, the least.
        regularization: shown beside the training pictures until there are as many of them.
        class_tokens: caption of entries that have none, such as "hcstyle 1girl"; "" if all have one.
        resolution_px: side of a square of the area at which the set is trained.
        trigger: the one tag that is no tag: its underscores stay.
        outfit: the tag behind it that calls what the character wears; "": none.
    """

    manifest: Manifest
    repeats: int
    regularization: bool
    class_tokens: str
    resolution_px: int
    trigger: str = ""
    outfit: str = ""


def by_outfit(whole: TrainingSet, repeats: int) -> tuple[TrainingSet, ...]:
    """A set as one for each outfit and its repeats; `repeats` are those of full size, of which copies have a share."""
    found: dict[tuple[str, int], list[Entry]] = {}
    for entry in whole.manifest.entries:
        found.setdefault((entry.outfit, entry.repeats), []).append(entry)
    return tuple(
        replace(
            whole,
            manifest=whole.manifest.model_copy(update={"entries": tuple(entries)}),
            repeats=max(1, round(whole.repeats * (own or repeats) / repeats)),
            outfit=outfit,
        )
        for (outfit, own), entries in found.items()
    )


def style_set(
    pictures: Manifest, repeats: int, resolution_px: int, tokens: str, *, regularization: bool = False
) -> TrainingSet:
    """The style's pictures; `tokens`, identifier and class, are the caption of those without, or stand first in it."""
    return TrainingSet(pictures, repeats, regularization, tokens, resolution_px, tokens.partition(" ")[0])


def character_sets(
    pictures: Manifest,
    copies: Manifest | None,
    style: Manifest | None,
    names: tuple[str, str],
    options: tuple[CharacterTraining, Downscale, Regularization],
) -> tuple[TrainingSet, ...]:
    """All that stage 3 is trained on, in order.

    Args:
        pictures: the character's, captioned.
        copies: the same, small; None: there are none.
        style: the style's, of which regularization pictures are taken; None: there are none.
        names: the trigger, and the style's identifier and class.
        options: of the training, of the copies and of regularization.
    """
    training, small, prior = options
    trigger, style_tokens = names
    sets = [TrainingSet(pictures, training.repeats, False, "", training.resolution, trigger)]
    if copies is not None:
        sets.append(TrainingSet(copies, small.repeats, False, "", small.size, trigger))
    worn = [part for each in sets for part in by_outfit(each, training.repeats)]
    if prior.use and style is not None:
        worn.append(style_set(style, prior.repeats, training.resolution, style_tokens, regularization=True))
    return tuple(worn)


@dataclass(frozen=True)
class Picture:
    """One picture of one set, as it is trained; `tags` are as the text encoder reads them.

    Attributes:
        called: tags in front that call the character and what it wears.
    """

    entry: Entry
    set_index: int
    placement: Placement
    tags: tuple[str, ...]
    regularization: bool
    repeats: int
    called: int = 1


@dataclass(frozen=True)
class Sample:
    """A picture's turn: which picture, at which place of the epoch."""

    picture: int
    position: int


def pictures_of(sets: Sequence[TrainingSet]) -> tuple[Picture, ...]:
    """Every picture of every set, in order.

    Raises:
        DatasetError: there is nothing to train on.
        CaptionError: an entry has no caption and its set has no class words.
    """
    if not any(each.manifest.entries for each in sets if not each.regularization):
        raise DatasetError("no pictures to train on: every training set is empty; look at the reasons in its report")
    return tuple(
        Picture(
            entry=entry,
            set_index=index,
            placement=place((entry.width, entry.height), each.resolution_px),
            tags=_tags(entry, each),
            regularization=each.regularization,
            repeats=each.repeats,
            called=2 if each.outfit else 1,
        )
        for index, each in enumerate(sets)
        for entry in each.manifest.entries
    )


def _tags(entry: Entry, its_set: TrainingSet) -> tuple[str, ...]:
    if entry.caption:
        return tuple(tag if tag == its_set.trigger else spaced(tag) for tag in entry.caption)
    if entry.caption is not None or not its_set.class_tokens:
        raise CaptionError(f"{entry.source}: no caption, and its set has no class words; write a caption for it")
    return (its_set.class_tokens,)


def hold_out(
    sets: Sequence[TrainingSet], share: float, seed: int
) -> tuple[tuple[TrainingSet, ...], tuple[TrainingSet, ...]]:
    """Part training sets into what is trained and what is measured, by the pictures' names.

    A picture goes with its small copy. What decides is a hash of its name and the seed, so that a new picture moves few
    others. At least one stays on either side. Regularization sets are trained whole.

    Returns:
        The sets to train on, and those held out, each picture at its largest size; none if the recipe wants none.
    """
    training = [each for each in sets if not each.regularization]
    found = {entry.source for each in training for entry in each.manifest.entries}
    names = sorted(found, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    count = min(max(1, round(len(names) * share)), len(names) - 1)
    if not share or count < 1:
        return tuple(sets), ()
    held = set(names[:count])
    rest = tuple(each if each.regularization else _only(each, set(names) - held) for each in sets)
    measured = []
    for each in sorted(training, key=lambda each: -each.resolution_px):
        measured.append(_only(each, held))
        held -= {entry.source for entry in each.manifest.entries}
    return rest, tuple(each for each in measured if each.manifest.entries)


def _only(each: TrainingSet, names: set[str]) -> TrainingSet:
    entries = tuple(entry for entry in each.manifest.entries if entry.source in names)
    return replace(each, manifest=each.manifest.model_copy(update={"entries": entries}))


def epoch_repeats(pictures: Sequence[Picture], epochs: int) -> Iterator[tuple[int, ...]]:
    """How often each picture is shown, epoch by epoch.

    Regularization pictures follow sd-scripts: they are cycled until they number the training pictures times their
    repeats; the first turn of a picture counts its own repeats, every further one adds one. There the same first ones
    are used in every epoch and the rest never; here the cycle goes on where the last epoch stopped, so that all get
    their turn.
    """
    wanted = sum(picture.repeats for picture in pictures if not picture.regularization)
    regularization = [index for index, picture in enumerate(pictures) if picture.regularization]
    turn = 0
    for _ in range(epochs):
        repeats = [0 if picture.regularization else picture.repeats for picture in pictures]
        shown = 0
        while regularization and shown < wanted:
            index = regularization[turn % len(regularization)]
            more = 1 if repeats[index] else pictures[index].repeats
            repeats[index] += more
            shown += more
            turn += 1
        yield tuple(repeats)


def samples_by_bucket(pictures: Sequence[Picture], repeats: Sequence[int]) -> dict[tuple[int, int], list[int]]:
    """Indices of pictures, each as often as it is shown, by the size at which they are trained."""
    buckets: dict[tuple[int, int], list[int]] = {}
    for index, (picture, times) in enumerate(zip(pictures, repeats, strict=True)):
        if times:
            buckets.setdefault(picture.placement.bucket, []).extend([index] * times)
    return dict(sorted(buckets.items()))


def epoch_batches(
    pictures: Sequence[Picture], repeats: Sequence[int], *, batch: int, seed: int, epoch: int
) -> tuple[tuple[Sample, ...], ...]:
    """The batches of one epoch, in order; each holds pictures of one size.

    Args:
        pictures: all of them.
        repeats: how often this epoch shows each.
        batch: pictures a step; the last batch of a bucket can be smaller.
        seed: of the run.
        epoch: counted from 0.
    """
    generator = counter_generator(seed, _ORDER, epoch)
    groups: list[list[int]] = []
    for members in samples_by_bucket(pictures, repeats).values():
        order = torch.randperm(len(members), generator=generator).tolist()
        mixed = [members[place] for place in order]
        groups.extend(mixed[start : start + batch] for start in range(0, len(mixed), batch))
    batches: list[tuple[Sample, ...]] = []
    position = 0
    for group in torch.randperm(len(groups), generator=generator).tolist():
        members = groups[group]
        batches.append(tuple(Sample(picture, position + offset) for offset, picture in enumerate(members)))
        position += len(members)
    return tuple(batches)


def draws(seed: int, epoch: int, position: int) -> torch.Generator:
    """Where everything random about one sample comes from."""
    return counter_generator(seed, _DRAW, epoch, position)
