"""Inputs that belong together, so that a step takes few. In a step's key a group counts by its fields."""

from typing import NamedTuple

from lora_core.captions.rules import Rules
from lora_core.recipe import Downscale, Judging, Merge, Process, Redraw, Regularization, Sampling, ShotPlan
from lora_core.refs import CaptionsRef, CheckpointRef, DatasetRef, LoraRef, TagsRef


class TaggedSet(NamedTuple):
    """Pictures and their tags."""

    pictures: DatasetRef
    tags: TagsRef
    tagger: CheckpointRef


class CharacterSets(NamedTuple):
    """What the character is trained on: its pictures, small copies of them, and the style's as regularization.

    `start` is the LoRA that the training begins with, instead of a new one.
    """

    pictures: DatasetRef
    copies: DatasetRef | None
    downscale: Downscale
    style_pictures: DatasetRef | None
    style_tokens: str
    regularization: Regularization
    start: LoraRef | None = None


class Merging(NamedTuple):
    """What a merged model is made of."""

    base: CheckpointRef
    lora: LoraRef
    merge: Merge


class Drawing(NamedTuple):
    """What is drawn, and how the base is read."""

    options: Sampling
    clip_skip: int
    process: Process


class Shown(NamedTuple):
    """What every epoch is shown with while it trains: on this base, by this trigger."""

    base: CheckpointRef
    trigger: str
    drawing: Drawing


class Scenes(NamedTuple):
    """What redrawn pictures are to show: who the captions say is drawn, in which compositions and scenes."""

    captions: CaptionsRef
    rules: Rules
    plan: ShotPlan
    redraw: Redraw


class Question(NamedTuple):
    """The words for the look that captions say, and who looks for it where the tagger sees none."""

    words: str
    classifier: CheckpointRef | None
    classifier_label: str
    embedder: CheckpointRef | None


class Judge(NamedTuple):
    """Who reads samples, and the bounds."""

    tagger: CheckpointRef
    classifier: CheckpointRef | None
    embedder: CheckpointRef | None
    judging: Judging
