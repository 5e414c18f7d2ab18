"""From a run's refs to what people get: the report's data, and the files of the published folder."""

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from lora_core.captions.edit import Edited
from lora_core.dataset import Manifest, load_manifest
from lora_core.errors import LoraError
from lora_core.hub.formats import read_header
from lora_core.judging.checks import GATE_FILE
from lora_core.judging.scores import Figure
from lora_core.judging.verdict import Verdict, read_verdict
from lora_core.recipe import Recipe
from lora_core.refs import LoraRef, ReportRef
from lora_core.report.card import choose_preview, model_card, user_metadata
from lora_core.report.contact_sheet import manifest_sheet
from lora_core.report.data import (
    CaptionChange,
    CaptionRow,
    CheckRow,
    DataSheet,
    Drawn,
    EpochRow,
    Interval,
    LeftOut,
    LossCurve,
    ReportData,
)
from lora_core.report.html import render
from lora_core.report.made import Made
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


def assemble(store: Store, recipe: Recipe, made: Made, edited: tuple[Edited, ...]) -> ReportRef:
    """Every file of the published folder.

    Returns:
        A tree: `NAME.safetensors` (the chosen epoch) with `NAME.png` and `NAME.json` for web UIs, `README.md`,
        `report.html`, `report.json`, `epochs/`, `samples/`, `checks/`.
    """
    verdict = read_verdict(store, made.verdict)
    data = report_data(store, recipe, made, edited, verdict)
    files = _Files(store, {})
    name = recipe.name
    files.take(f"{name}.safetensors", made.lora, verdict.choice.file)
    files.put(f"{name}.png", data.preview)
    files.put(
        f"{name}.json",
        _readable(user_metadata(data, _architecture(store.path(files.digests[f"{name}.safetensors"]))).as_json()),
    )
    card = model_card(data, base=PurePath(recipe.base.model).name, licence=recipe.publish.licence)
    files.put("README.md", card.encode())
    files.put("report.html", render(data).encode())
    files.put("report.json", _readable(_summary(recipe, made, verdict, store)))
    for file in store.tree(made.lora.sha256):
        files.take(f"epochs/{file}", made.lora, file)
    for file in store.tree(made.style_lora.sha256):
        files.take(f"checks/style-lora/{file}", made.style_lora, file)
    for folder, ref in (
        ("samples", made.samples),
        ("checks/style", made.style_check),
        ("checks/merge", made.merge_check),
    ):
        for file in store.tree(ref.sha256):
            files.take(f"{folder}/{file.removeprefix('samples/')}", ref, file)
    return ReportRef(sha256=store.put_tree({each: store.path(digest) for each, digest in files.digests.items()}))


def report_data(store: Store, recipe: Recipe, made: Made, edited: tuple[Edited, ...], verdict: Verdict) -> ReportData:
    """Everything that the report shows."""
    choice = verdict.choice
    samples = load_samples(store, made.samples)
    drawn = tuple(
        Drawn(epoch=each.epoch, prompt=each.prompt, seed=each.seed, picture=store.get_bytes(each.image))
        for each in samples.samples
    )
    style, pictures = load_manifest(store, made.style_squares), load_manifest(store, made.squares)
    return ReportData(
        name=recipe.name,
        trigger=recipe.trigger,
        file=f"{recipe.name}.safetensors",
        epoch=choice.epoch,
        reason=choice.reason,
        flagged=choice.flagged,
        weight=recipe.sampling.weight,
        max_leak=choice.max_leak,
        preview=choose_preview(drawn, choice.epoch),
        epochs=tuple(
            EpochRow(
                epoch=row.epoch,
                file=row.file,
                identity=_interval(row.identity),
                leak=_interval(row.leak),
                within_bounds=row.within_bounds,
                chosen=row.chosen,
            )
            for row in choice.table
        ),
        samples=drawn,
        traits=verdict.figures.traits,
        not_measured=choice.not_measured,
        checks=(
            _check(store, "Style LoRA on the base: is it the style character?", made.style_check),
            _check(store, "Merged model: does it draw the style character whatever the prompt?", made.merge_check),
        ),
        curves=(_curve(store, "style LoRA", made.style_lora), _curve(store, "character LoRA", made.lora)),
        sheets=(_sheet(store, "Style screenshots", style), _sheet(store, "Character screenshots", pictures)),
        captions=_captions(store, load_manifest(store, made.captioned), edited),
        left_out=tuple(LeftOut(source=one.source, reason=one.reason) for one in (*style.rejected, *pictures.rejected)),
        recipe=_readable(recipe.model_dump(mode="json", exclude={"runtime"})).decode(),
        versions=(("Python", platform.python_version()), *((name, version(name)) for name in _PACKAGES)),
    )


def _check(store: Store, name: str, ref: ReportRef) -> CheckRow:
    files = store.tree(ref.sha256)
    gate = json.loads(files[GATE_FILE].read_bytes()) if GATE_FILE in files else None
    return CheckRow(
        name=name,
        passed=gate["passed"] if gate else None,
        line=gate["line"] if gate else "Look: the pictures below should show it.",
        picture=files[GRID_FILE].read_bytes(),
    )


def _curve(store: Store, label: str, lora: LoraRef) -> LossCurve:
    points = json.loads(store.tree(lora.sha256)["loss.json"].read_bytes())["points"]
    return LossCurve(
        label=label,
        losses=tuple(point["loss"] for point in points),
        epochs=max((point["epoch"] for point in points), default=0),
    )


def _sheet(store: Store, title: str, manifest: Manifest) -> DataSheet:
    left_out = f", {len(manifest.rejected)} left out" if manifest.rejected else ""
    return DataSheet(
        title=title,
        text=f"{len(manifest.entries)} pictures{left_out}",
        picture=_encoded(manifest_sheet(store, manifest)),
    )


def _captions(store: Store, captioned: Manifest, edited: tuple[Edited, ...]) -> tuple[CaptionRow, ...]:
    images = {entry.name: entry.image for entry in captioned.entries}
    return tuple(
        CaptionRow(
            name=one.name,
            picture=store.get_bytes(images[one.name]),
            before=one.before,
            after=one.tags,
            changes=tuple(
                CaptionChange(tag=change.tag, what=change.action, reason=change.rule) for change in one.changes
            ),
        )
        for one in edited
    )


def _summary(recipe: Recipe, made: Made, verdict: Verdict, store: Store) -> dict[str, Any]:
    """The report for programs."""
    return {
        "name": recipe.name,
        "trigger": recipe.trigger,
        "verdict": verdict.model_dump(mode="json"),
        "made": made.model_dump(mode="json"),
        "left_out": {
            side: [one.model_dump(mode="json") for one in load_manifest(store, ref).rejected]
            for side, ref in (("style", made.style_squares), ("character", made.squares))
        },
        "recipe": recipe.model_dump(mode="json", exclude={"runtime"}),
    }


def _architecture(lora: Path) -> str:
    """By what the trainer wrote into the file."""
    versions = {"sd_v1": "sd1", "sd_v2": "sd2"}
    return versions.get(read_header(lora, lora.name, LoraError).metadata.get("ss_base_model_version", ""), "sdxl")


def _interval(figure: Figure | None) -> Interval | None:
    return Interval(mean=figure.mean, low=figure.low, high=figure.high) if figure else None


def _readable(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _encoded(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
