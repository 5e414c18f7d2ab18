"""From a run's refs to what people get: the report's data, and the files of the published folder."""

import json
import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

from lora_core.bases.fit import misfits
from lora_core.bases.lineage import stored_lineage
from lora_core.captions.caption import EditedCaptions, frequency_rows, load_captions, reasons, report
from lora_core.captions.tags import canonical, caption_text, spaced
from lora_core.dataset import Manifest, load_manifest, named_sets
from lora_core.diffusion.tokenizer import token_counter
from lora_core.errors import LoraError
from lora_core.hub.formats import read_header
from lora_core.images.coverage import coverage
from lora_core.images.png import png_bytes
from lora_core.judging.choice import Edge
from lora_core.judging.gates import read_gates
from lora_core.judging.verdict import Verdict, read_verdict
from lora_core.recipe import Recipe, ShotPlan
from lora_core.recipe_file import looks_like_path
from lora_core.refs import LoraRef, ReportRef
from lora_core.report.card import choose_preview, model_card, sample_prompts, user_metadata
from lora_core.report.checks import all_checks
from lora_core.report.contact_sheet import accepted_sheet, left_out_sheet
from lora_core.report.data import (
    CaptionRow,
    CheckRow,
    DataSheet,
    Drawn,
    Elsewhere,
    LeftOut,
    LossCurve,
    ReportData,
    ReportInputs,
    Timing,
    WornOutfit,
)
from lora_core.report.html import render
from lora_core.report.publish import published_name
from lora_core.sampling.samples import GRID_FILE, load_samples
from lora_core.store import Store

_PACKAGES = ("headcanon", "torch", "diffusers", "transformers", "peft", "onnxruntime", "pillow", "prefect")


@dataclass(frozen=True)
class _Files:
    """The published folder, being filled: name → digest."""

    store: Store
    digests: dict[str, str]

    def put(self, name: str, data: bytes) -> None:
        self.digests[name] = self.store.put_bytes(data)

    def take(self, name: str, ref: LoraRef | ReportRef, file: str) -> None:
        self.digests[name] = self.store.digest_of_file(self.store.tree(ref.sha256)[file])


_EDGES: Mapping[Edge, str] = {
    "last epoch": "The chosen epoch is the last one: more epochs may be better. Raise [{training}] epochs.",
    "highest weight": "The chosen weight is the highest that was drawn: a higher one may be better. Add one to "
    "[sampling] weights.",
    "lowest weight": "The chosen weight is the lowest that was drawn: a lower one may be better. Add one to "
    "[sampling] weights.",
}  # fmt: skip
"""What a choice at the edge of what was drawn leaves open."""


def assemble(store: Store, recipe: Recipe, made: ReportInputs, timings: tuple[Timing, ...] = ()) -> ReportRef:
    """Every file of the published folder.

    Returns:
        A tree: `NAME.safetensors` (the chosen epoch) with `NAME.png` and `NAME.json` for web UIs, `README.md`,
        `report.html`, `report.json`, `prompts.txt`, `epochs/`, `samples/`, `checks/`.
    """
    verdict = read_verdict(store, made.verdict)
    captions = load_captions(store, made.captions)
    data = report_data(store, recipe, made, captions, verdict, timings)
    files = _Files(store, {})
    name = published_name(recipe)
    files.take(f"{name}.safetensors", made.lora, verdict.choice.file)
    files.put(f"{name}.png", data.preview)
    files.put(
        f"{name}.json",
        _readable(user_metadata(data, _architecture(store.path(files.digests[f"{name}.safetensors"])))),
    )
    card = model_card(data, base=_base_name(recipe.base.model), licence=recipe.publish.licence)
    files.put("README.md", card.encode())
    files.put("prompts.txt", sample_prompts(data).encode())
    files.put("report.html", render(data).encode())
    summary = _summary(recipe, made, verdict, store)
    files.put(
        "report.json", _readable({**summary, "captions": report(captions.edited, recipe.trigger, token_counter())})
    )
    for file in store.tree(made.lora.sha256):
        files.take(f"epochs/{file}", made.lora, file)
    for folder, ref in (
        ("checks/style-lora", made.style_lora),
        ("samples", made.samples),
        ("checks/style", made.style_check),
        ("checks/merge", made.merge_check),
        *((f"transfer/{name}", ref) for name, ref in made.transfer),
        *((f"checks/redraw-{number}", one.selected) for number, one in enumerate(made.redrawn, start=1)),
    ):
        if ref:
            for file in store.tree(ref.sha256):
                files.take(f"{folder}/{file.removeprefix('samples/')}", ref, file)
    return ReportRef(sha256=store.put_tree({each: store.path(digest) for each, digest in files.digests.items()}))


def report_data(
    store: Store,
    recipe: Recipe,
    made: ReportInputs,
    captions: EditedCaptions,
    verdict: Verdict,
    timings: tuple[Timing, ...] = (),
) -> ReportData:
    """Everything that the report shows."""
    samples = load_samples(store, made.samples)
    drawn = tuple(
        Drawn(epoch=one.epoch, weight=one.weight, prompt=one.prompt, seed=one.seed, picture=store.get_bytes(one.image))
        for one in samples.samples
    )
    sets = _sets(store, made)
    return ReportData(
        name=recipe.name,
        trigger=recipe.trigger,
        outfits=tuple(_outfits(captions)),
        file=f"{published_name(recipe)}.safetensors",
        verdict=verdict,
        preview=choose_preview(drawn, verdict.choice.epoch, verdict.choice.weight),
        elsewhere=tuple(_elsewhere(store, name, ref) for name, ref in made.transfer),
        samples=drawn,
        template=recipe.sampling.template,
        most_tokens=recipe.character_training.max_token_length,
        styled=made.style_lora is not None,
        look_word=recipe.style.identifier if recipe.style_training.inversion else "",
        subtracted=recipe.difference.use,
        warnings=tuple(_warnings(store, recipe, made, verdict)),
        checks=(*_misfits(store, recipe, made), *all_checks(store, made)),
        curves=tuple(
            _curve(store, label, lora)
            for label, lora in (
                ("style LoRA", made.style_lora),
                *(
                    (f"LoRA before redrawing {number}", one.lora)
                    for number, one in enumerate(made.redrawn, start=1)
                    if one.lora != made.lora
                ),
                (_character_label(store, recipe, made), made.lora),
            )
            if lora
        ),
        sheets=tuple(
            one
            for side, manifest in sets.items()
            for one in _sheets(store, f"{side.capitalize()} screenshots", manifest, recipe.plan)
        ),
        coverage=coverage(recipe.plan, sets),
        captions=_captions(store, captions),
        frequencies=tuple(frequency_rows(captions.edited)),
        left_out=tuple(
            LeftOut(source=one.source, reason=one.reason) for manifest in sets.values() for one in manifest.rejected
        ),
        recipe=_readable(recipe.model_dump(mode="json", exclude={"runtime"})).decode(),
        timings=timings,
        versions=(("Python", platform.python_version()), *((name, version(name)) for name in _PACKAGES)),
    )


def _character_label(store: Store, recipe: Recipe, made: ReportInputs) -> str:
    if recipe.difference.use:
        return "LoRA of look and character"
    return f"character LoRA, begun with {_start_file(store, made.start)}" if made.start else "character LoRA"


def _start_file(store: Store, start: LoraRef) -> str:
    return next(iter(store.tree(start.sha256)))


def _sets(store: Store, made: ReportInputs) -> dict[str, Manifest]:
    style = load_manifest(store, made.style_squares) if made.style_squares else None
    return named_sets(style, load_manifest(store, made.squares))


def _outfits(captions: EditedCaptions) -> Iterator[WornOutfit]:
    """Folders of one outfit together."""
    counts = Counter(entry.outfit for entry in captions.manifest.entries)
    for words in dict.fromkeys(outfit.words for outfit in captions.outfits if outfit.words):
        tags = dict.fromkeys(tag for outfit in captions.outfits if outfit.words == words for tag in outfit.tags)
        yield WornOutfit(words=words, tags=tuple(map(spaced, tags)), pictures=counts[canonical(words)])


def _warnings(store: Store, recipe: Recipe, made: ReportInputs, verdict: Verdict) -> Iterator[str]:
    """Where the best may lie beyond what was drawn, and what a gate that was off would have stopped."""
    is_redrawn = bool(made.redrawn) and made.verdict != made.redrawn[0].verdict
    training = "redraw" if is_redrawn else "character_training"
    yield from (_EDGES[edge].format(training=training) for edge in verdict.choice.edges)
    for name, check in (("captions", made.caption_check), ("style", made.style_check), ("merge", made.merge_check)):
        if check and getattr(recipe.gates, name) == "off":
            missed = [gate.line for gate in read_gates(store, check) if not gate.passed]
            yield from (f"The gate ‘{name}’ was off, and would have ended this run: {line}." for line in missed)
    if recipe.gates.epoch == "off" and not verdict.choice.passed and not verdict.choice.by_hand:
        yield "The gate ‘epoch’ was off, and would have ended this run: no epoch is within bounds."


def _misfits(store: Store, recipe: Recipe, made: ReportInputs) -> Iterator[CheckRow]:
    """One for each number of the recipe that does not fit its base."""
    lineage = stored_lineage(store, made.base, recipe.base)
    for misfit in misfits(recipe, lineage):
        line = f"{misfit.option} = {misfit.value} ({lineage.line})"
        yield CheckRow(name="Does this number fit the base?", passed=False, line=line, advice=misfit.advice)


def _elsewhere(store: Store, base: str, ref: ReportRef) -> Elsewhere:
    return Elsewhere(
        base=base,
        metrics=read_verdict(store, ref).chosen.metrics,
        picture=store.tree(ref.sha256)[GRID_FILE].read_bytes(),
    )


def _curve(store: Store, label: str, lora: LoraRef) -> LossCurve:
    table = json.loads(store.tree(lora.sha256)["loss.json"].read_bytes())
    every = tuple((point["step"], point["loss"]) for point in table["points"])
    # Before that many steps there is no mean of so many: of a training that is long enough, they are left out.
    points = tuple(point for point in every if point[0] >= table["averaged_steps"])
    points = points if len(points) > 1 else every
    epochs = max((point["epoch"] for point in table["points"]), default=0)
    validation = tuple(
        (points[-1][0] * each["epoch"] / epochs, each["loss"]) for each in table.get("validation", ()) if points
    )
    return LossCurve(label=label, points=points, validation=validation, epochs=epochs)


def _sheets(store: Store, title: str, manifest: Manifest, plan: ShotPlan) -> Iterator[DataSheet]:
    """What was accepted, and what was left out if there is such."""
    flagged = sum(bool(entry.flags) for entry in manifest.entries)
    look = f" {flagged} with a coloured edge: look at them." if flagged else ""
    picture = png_bytes(accepted_sheet(store, manifest, plan, title))
    yield DataSheet(title=title, text=f"{len(manifest.entries)} pictures.{look}", picture=picture)
    if (left_out := left_out_sheet(store, manifest, title)) is not None:
        yield DataSheet(title=f"{title}, left out", text="Each with its reason.", picture=png_bytes(left_out))


def _captions(store: Store, captions: EditedCaptions) -> tuple[CaptionRow, ...]:
    count_tokens = token_counter()
    images = {entry.name: entry.image for entry in captions.manifest.entries}
    return tuple(
        CaptionRow(
            name=one.name,
            picture=store.get_bytes(images[one.name]),
            before=one.before,
            after=one.tags,
            tokens=count_tokens(caption_text(one.tags, captions.trigger)),
            changes=reasons(one),
        )
        for one in captions.edited
    )


def _summary(recipe: Recipe, made: ReportInputs, verdict: Verdict, store: Store) -> dict[str, Any]:
    """The report for programs."""
    sets = _sets(store, made)
    return {
        "name": recipe.name,
        "trigger": recipe.trigger,
        "verdict": verdict.model_dump(mode="json"),
        "made": made.model_dump(mode="json"),
        "left_out": {
            side: [one.model_dump(mode="json") for one in manifest.rejected] for side, manifest in sets.items()
        },
        "review": {
            side: [{"source": entry.source, "flags": entry.flag_texts} for entry in manifest.entries if entry.flags]
            for side, manifest in sets.items()
        },
        "coverage": coverage(recipe.plan, sets).model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json", exclude={"runtime"}),
    }


def _base_name(model: str) -> str:
    """A hub repository as it is, a path without its folders."""
    return PurePath(model).name if looks_like_path(model) else model


def _architecture(lora: Path) -> str:
    """By what the trainer wrote into the file."""
    version = read_header(lora, lora.name, LoraError).metadata.get("ss_base_model_version", "")
    return {"sd_v1": "sd1", "sd_v2": "sd2"}.get(version.removesuffix("_v"), "sdxl")


def _readable(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
