"""The version of a LoRA that was published last, read from its folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from lora_core.bounded import TABLE_BYTES, json_of, read_bounded
from lora_core.errors import PublishError
from lora_core.judging.measure import EpochMetrics
from lora_core.judging.verdict import Verdict
from lora_core.recipe import Recipe
from lora_core.refs import CheckpointRef
from lora_core.report.publish import published_name

_REPORT = "report.json"


class Previous(NamedTuple):
    """A published version and the metrics of its chosen epoch."""

    name: str
    metrics: EpochMetrics


def previous(out: Path, recipe: Recipe, base: CheckpointRef) -> Previous | str | None:
    """The newest version of this character that was published before.

    Args:
        out: the folder of published LoRAs.
        recipe: of the version to come; one that lies there under its very name was published before, and only what is
            older counts.
        base: what its samples were drawn with.

    Returns:
        None: there is no earlier version. A text: there is one, and why its metrics tell nothing about the new one.
    """
    target = out / published_name(recipe) / f"{published_name(recipe)}.safetensors"
    before = target.stat().st_mtime if target.exists() else float("inf")
    found = [path for path in _versions(out, recipe.name) if path != target and path.stat().st_mtime < before]
    if not found:
        return None
    newest = max(found, key=lambda path: path.stat().st_mtime)
    try:
        report = json_of(read_bounded(newest.parent / _REPORT, TABLE_BYTES, PublishError))
        chosen = Verdict.model_validate(report["verdict"]).chosen.metrics
        drawing = report["made"]["base"]["sha256"], report["recipe"]["sampling"]
    except (OSError, ValueError, PublishError, ValidationError, KeyError, TypeError, StopIteration):
        return f"{newest.stem}: its {_REPORT} cannot be read, so the new version is not compared with it"
    if drawing != (base.sha256, recipe.sampling.model_dump(mode="json")):
        return f"{newest.stem} was judged on other prompts or another base; the new version is not compared with it"
    return Previous(newest.stem, chosen)


def _versions(out: Path, name: str) -> Iterator[Path]:
    """LoRA files of a character's versions: NAME/NAME.safetensors, NAME-v2/NAME-v2.safetensors …"""
    for report in out.glob(f"*/{_REPORT}"):
        folder = report.parent
        lora = folder / f"{folder.name}.safetensors"
        if lora.exists() and (folder.name == name or folder.name.startswith(f"{name}-")):
            yield lora
