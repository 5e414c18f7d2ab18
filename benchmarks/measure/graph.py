"""The demo's way from screenshots to a judged LoRA without Prefect: what `flows/graph.py` wires, called by hand."""

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from demo.project import MODELS
from demo.world import STYLE, TARGET, Character, screenshots
from demo.world.scene import Composition
from demo.world.screenshot import screenshot_tags
from lora_core.captions.caption import caption
from lora_core.captions.edit import Edited
from lora_core.captions.rules import Rules
from lora_core.dataset import Manifest, Scores, TagTable
from lora_core.hub import find_model_files
from lora_core.images.collect import collect
from lora_core.images.composition import settle
from lora_core.images.pipeline import downscale, preprocess
from lora_core.lora.combine import Term
from lora_core.lora.merge import merge_file
from lora_core.progress import silent
from lora_core.recipe import CharacterTraining, Judging, Preprocess, Process, Sampling, Speed, StyleTraining, Tagger
from lora_core.recipe import Training as Options
from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from lora_core.sampling.epochs import epoch_files, sample_epochs
from lora_core.sampling.sampler import SamplerConfig
from lora_core.store import Store
from lora_core.tagging.select import select, thresholds
from lora_core.training.run import TrainingSet, train

_TRAITS = ("pink_hair", "twintails", "cat_ears", "green_eyes")
_OPTIONS = {"batch": 4, "rank": 8, "alpha": 4}
_PROMPTS = ("{trigger}, 1girl, solo, upper body, smile, grass", "{trigger}, 1girl, solo, portrait, night")


class Scale(NamedTuple):
    """How large it is.

    Attributes:
        plan: screenshots of each composition, of the style and of the character.
        side_px: of training and samples; the squares are twice as large.
        small_px: of the small copies.
        epochs: of both trainings.
        repeats: of both sets.
        steps: of a sample.
    """

    plan: dict[Composition, int]
    side_px: int
    small_px: int
    epochs: int
    repeats: int
    steps: int


USUAL = Scale({"close-up": 1, "portrait": 3, "upper_body": 5, "cowboy_shot": 3}, 128, 96, 4, 2, 8)
TOY = Scale({"close-up": 1, "portrait": 1, "upper_body": 1, "cowboy_shot": 1}, 64, 64, 1, 1, 1)


class Trained(NamedTuple):
    """What came out.

    Attributes:
        lora: the character's, all epochs.
        losses: of the character training: the moving average at every step or some hundred of them.
        samples: of the grid.
        choice: why which epoch ships; "" where no tagger runs on this machine.
    """

    lora: LoraRef
    losses: tuple[float, ...]
    samples: ReportRef
    choice: str


class Project(NamedTuple):
    """Pictures and captions, ready for training on any device."""

    store: Store
    scale: Scale
    base: CheckpointRef
    style: Manifest
    hero: Manifest
    copies: Manifest
    edited: tuple[Edited, ...]
    has_tagger: bool


def prepared(folder: Path, scale: Scale, *, has_tagger: bool) -> Project:
    """Screenshots drawn, cut to squares, tagged, captioned; small copies beside them.

    Where onnxruntime is missing, the tags are the ones that the drawn world knows to be true.
    """
    store = Store(folder / "store")
    base = CheckpointRef(sha256=store.put_tree(find_model_files(str(MODELS / "base"), ""), how="refer"))
    style, _ = _squares(store, folder / "style", STYLE, 5, scale, has_tagger=has_tagger)
    hero, tags = _squares(store, folder / "hero", TARGET, 1, scale, has_tagger=has_tagger)
    rules = Rules(memorize=_TRAITS)
    chosen = partial(select, least=thresholds(Tagger(model="demo")))
    named = {entry.name: entry.composition for entry in hero.entries}
    settled = settle(hero, tags, {name: framing for name, framing in named.items() if framing})
    hero, edited = caption(settled, tags, rules, "momo", chosen)
    return Project(store, scale, base, style, hero, downscale(store, hero, scale.small_px, silent), edited, has_tagger)


def run(project: Project, device: str, speed: Speed, precision: str) -> Trained:
    """Style LoRA, merge, character LoRA, samples, verdict.

    Args:
        project: what to train on.
        device: for all of it.
        speed: how a GPU is kept busy.
        precision: of the trainings.
    """
    store, scale, of = project.store, project.scale, f"{device} {precision}"
    style = TrainingSet(project.style, scale.repeats, False, "hcstyle 1girl", scale.side_px)
    given = {"epochs": scale.epochs, "precision": precision, "resolution": scale.side_px, **_OPTIONS}
    options = StyleTraining.model_validate({**given, "unet_lr": 1e-3, "text_encoder_lr": 2e-4})
    style_lora = _trained(store, project.base, (style,), options, device, speed, f"style {of}")
    last = epoch_files(store, style_lora)[-1]
    out = store.work_folder(_key(f"merged {of}")) / "merged"
    files = store.tree(project.base.sha256)
    merge_file(files, [Term(store.path(last.sha256), 1.0, last.file)], out, silent)
    merged = CheckpointRef(sha256=store.put_tree({file: out / file for file in files}, how="move"))
    sets = (
        TrainingSet(project.hero, scale.repeats, False, "", scale.side_px, "momo"),
        TrainingSet(project.copies, 1, False, "", scale.small_px, "momo"),
        replace(style, repeats=1, regularization=True),
    )  # fmt: skip
    character = CharacterTraining.model_validate({**given, "unet_lr": 4e-4, "text_encoder_lr": 1e-4})
    lora = _trained(store, merged, sets, character, device, speed, f"momo {of}")
    points = json.loads(store.tree(lora.sha256)["loss.json"].read_bytes())["points"]
    losses = tuple(float(point["loss"]) for point in points)
    samples = draw(project, lora, device, speed)
    return Trained(lora, losses, samples, _judged(project, samples) if project.has_tagger else "")


def draw(project: Project, lora: LoraRef, device: str, speed: Speed) -> ReportRef:
    """Every epoch's samples on the original base."""
    side, steps = project.scale.side_px, project.scale.steps
    sampling = Sampling(prompts=_PROMPTS, seeds=(1,), weights=(1.0,), steps=steps, width=side, height=side, cfg=3.0)
    config = SamplerConfig(1, Process(), device, speed)
    return sample_epochs(project.store, project.base, lora, sampling, config, trigger="momo")


def _squares(
    store: Store, folder: Path, character: Character, seed: int, scale: Scale, *, has_tagger: bool
) -> tuple[Manifest, TagTable]:
    screenshots(character, folder, seed, scale.plan)
    squares = preprocess(store, collect(store, folder), Preprocess(size=2 * scale.side_px))
    if has_tagger:
        from lora_core.tagging.tag import tag

        return squares, tag(store, squares, find_tagger_files())
    true = screenshot_tags(character, seed, scale.plan)
    images = {
        entry.image: Scores(rating={"general": 0.99}, general=dict.fromkeys(true[entry.source], 0.95), character={})
        for entry in squares.entries
    }
    return squares, TagTable(model="0" * 64, floor=0.05, images=images)


def find_tagger_files() -> dict[str, Path]:
    """The demo's tagger."""
    return {name: MODELS / "tagger" / name for name in ("model.onnx", "selected_tags.csv")}


def _trained(
    store: Store, base: CheckpointRef, sets: tuple[TrainingSet, ...], options: Options, device: str, speed: Speed,
    name: str,
) -> LoraRef:  # fmt: skip
    return train(
        store, base, sets, options, name=name.split()[0], clip_skip=1, device=device, key=_key(name), trigger="momo",
        progress=silent, speed=speed,
    )  # fmt: skip


def _judged(project: Project, samples: ReportRef) -> str:
    from lora_core.judging.verdict import judge_epochs, read_verdict

    files = find_tagger_files()
    verdict = judge_epochs(project.store, samples, project.hero, project.edited, files, Judging(), silent)
    return read_verdict(project.store, verdict).choice.reason


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
