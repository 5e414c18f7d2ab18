"""A published folder, read back: what it was made of, and what further pictures of it are asked for."""

import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from lora_core.bounded import TABLE_BYTES, json_of, read_bounded
from lora_core.captions import content
from lora_core.errors import PublishError, UserError
from lora_core.judging.choice import Choice
from lora_core.judging.measure import EpochMetrics
from lora_core.judging.metrics import headlines
from lora_core.recipe import Recipe, Sampling
from lora_core.recipe_file import explain
from lora_core.refs import CheckpointRef
from lora_core.sampling.samples import SAMPLES_FILE, Samples
from lora_core.store.digests import canonical_json, digest_of

DRAWN = "drawn"
"""Sub-folder of further pictures, a folder for each time that some were asked for."""
_MOST_PICTURES = 500


class Further(NamedTuple):
    """What is to be drawn with a published LoRA: the options' prompts and seeds, with each epoch at each weight."""

    epochs: tuple[int, ...]
    options: Sampling

    @property
    def parameters(self) -> dict[str, object]:
        """As the form of `draw-more` takes them."""
        prompts, weights, seeds = self.options.prompts, self.options.weights, self.options.seeds
        return {"prompts": [*prompts], "epochs": [*self.epochs], "weights": [*weights], "seeds": [*seeds]}

    @property
    def folder(self) -> str:
        """Below the published one; the same pictures have the same."""
        return f"{DRAWN}/{digest_of(canonical_json(self.parameters))[:12]}"


@dataclass(frozen=True)
class Published:
    """A folder with NAME.safetensors, NAME.json and report.json."""

    folder: Path

    @property
    def name(self) -> str:
        """Of the LoRA, with its version."""
        return self.folder.name

    @property
    def lora(self) -> Path:
        """The chosen epoch."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def is_there(self) -> bool:
        """Whether it is what a run published."""
        return self.lora.is_file()

    @property
    def report(self) -> dict[str, Any]:
        """report.json; empty: it cannot be read."""
        return _json(self.folder / "report.json")

    @property
    def character(self) -> str:
        """Whom it draws."""
        return str((self.report.get("recipe") or {}).get("name", self.name))

    @property
    def prompt(self) -> str:
        """What a web UI's prompt begins with."""
        call = _json(self.folder / f"{self.name}.json")
        return f"<lora:{self.name}:{call.get('preferred weight', 1):g}> {call.get('activation text', '')}"

    @property
    def preview(self) -> str:
        """The picture for web UIs; empty: there is none."""
        return f"{self.name}.png" if (self.folder / f"{self.name}.png").is_file() else ""

    @property
    def trigger(self) -> str:
        """The word that calls the character."""
        return str(self.report.get("trigger", ""))

    @property
    def has_grid(self) -> bool:
        """Whether there is a picture of all samples."""
        return (self.folder / "samples" / "grid.png").is_file()

    @property
    def made_of(self) -> tuple[CheckpointRef, str]:
        """The base that it was sampled on, and the digest of all its epochs.

        Raises:
            PublishError: the report does not say.
        """
        try:
            made = self.report["made"]
            return CheckpointRef.model_validate(made["base"]), str(made["lora"]["sha256"])
        except (KeyError, TypeError, ValidationError):
            raise self._unreadable from None

    @property
    def recipe(self) -> Recipe:
        """The run's, without where things lay.

        Raises:
            PublishError: the report does not hold it.
        """
        try:
            return Recipe.model_validate(self.report["recipe"])
        except (KeyError, ValidationError):
            raise self._unreadable from None

    @cached_property
    def choice(self) -> Choice | None:
        """The epoch and weight that shipped; None: the report does not say."""
        try:
            return Choice.model_validate(self.report["verdict"]["choice"])
        except (KeyError, TypeError, ValidationError):
            return None

    @property
    def headlines(self) -> list[tuple[str, str, str]]:
        """The headline metrics of what shipped: label, mean, and the interval in words."""
        choice = self.choice
        if choice is None:
            return []
        epochs = self.report["verdict"].get("measured", {}).get("epochs", ())
        try:
            every = [EpochMetrics.model_validate(one) for one in epochs]
        except ValidationError:
            return []
        chosen = next((one for one in every if (one.epoch, one.weight) == (choice.epoch, choice.weight)), None)
        scored = [(metric, chosen.score(metric)) for metric in headlines()] if chosen else []
        return [(metric.label, metric.format(score.mean), metric.span(score)) for metric, score in scored if score]

    @property
    def drawn(self) -> list[tuple[str, Samples]]:
        """Further pictures, those that were asked for last first, each with its folder."""
        lists = sorted(self.folder.glob(f"{DRAWN}/*/{SAMPLES_FILE}"), key=lambda path: -path.stat().st_mtime)
        return [
            (f"{DRAWN}/{path.parent.name}", Samples.model_validate(read)) for path in lists if (read := _json(path))
        ]

    def zipped(self) -> Iterator[bytes]:
        """The folder as a zip file, uncompressed, in pieces; without what is hidden."""
        with tempfile.TemporaryFile() as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for path in sorted(self.folder.rglob("*")):
                    named = path.relative_to(self.folder.parent)
                    if path.is_file() and not any(part.startswith(".") for part in named.parts):
                        archive.write(path, named)
            file.seek(0)
            while piece := file.read(1 << 20):
                yield piece

    def further(
        self, prompts: tuple[str, ...], epochs: tuple[int, ...], weights: tuple[float, ...], seeds: tuple[int, ...]
    ) -> Further:
        """What is asked for, drawn like the run's samples; epochs and weights, if none, as it shipped.

        Raises:
            PublishError: no such epoch, or an option out of bounds.
            ContentRuleError: what may not be drawn.
        """
        choice, recipe = self.choice, self.recipe
        if choice is None:
            raise self._unreadable
        known = sorted({int(row.epoch) for row in choice.table})
        if unknown := [epoch for epoch in epochs if epoch not in known]:
            raise PublishError(f"{self.name}: has no epoch {unknown[0]}; there are {', '.join(map(str, known))}")
        changed = {"prompts": prompts, "weights": weights or (choice.weight,), "seeds": seeds or (1,), "transfer": ()}
        try:
            options = Sampling.model_validate({**recipe.sampling.model_dump(), **changed})
        except ValidationError as error:
            raise PublishError(f"{self.name}: {explain(error, Sampling)}") from None
        count = len(prompts) * max(len(epochs), 1) * len(options.weights) * len(options.seeds)
        if count > _MOST_PICTURES:
            raise PublishError(
                f"{self.name}: {count:,} pictures are asked for; draw {_MOST_PICTURES} at a time at most"
            )
        content.check((), (recipe.trigger, recipe.name, *options.prompts, options.template))
        return Further(epochs or (int(choice.epoch),), options)

    @property
    def _unreadable(self) -> PublishError:
        return PublishError(f"{self.folder / 'report.json'}: cannot be read as a run's report; publish it again")


def published_in(out: Path, character: str = "") -> list[Published]:
    """The published LoRAs of a folder, newest first; of one character, or of all."""
    found = [one for folder in out.glob("*") if (one := Published(folder)).is_there]
    newest = sorted(found, key=lambda one: -one.lora.stat().st_mtime)
    return [one for one in newest if not character or one.character == character]


def find_published(out: Path, name: str) -> Published:
    """A published LoRA by the name of its folder.

    Raises:
        PublishError: there is none.
    """
    every = {one.name: one for one in published_in(out)}
    if name not in every:
        raise PublishError(f"{name}: there is no such result in {out}; there are: {', '.join(every) or 'none yet'}")
    return every[name]


def _json(path: Path) -> dict[str, Any]:
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, UserError):
        return {}


@lru_cache(maxsize=64)
def _read(path: Path, _modified_ns: int) -> dict[str, Any]:
    """A report has megabytes, and a page that is open asks for it every few seconds. Nobody may change what it gets."""
    data = json_of(read_bounded(path, TABLE_BYTES, PublishError))
    return data if isinstance(data, dict) else {}
