"""The folder that people look into: its name, its files, and the version that was published before."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from lora_core.bounded import TABLE_BYTES, json_of, read_bounded
from lora_core.errors import OutputExistsError, PublishError
from lora_core.judging.measure import EpochMetrics
from lora_core.judging.verdict import Verdict
from lora_core.recipe import Recipe
from lora_core.refs import CheckpointRef
from lora_core.store.digests import canonical_json, digest_of, file_digest
from lora_core.store.files import remove_leftovers, replacing, write_atomically

INPUTS_FILE = ".inputs"
_PAGES: Final = ("README.md", "prompts.txt", "report.html", "report.json")
"""Files of a run that a folder may hold already."""


def published_name(recipe: Recipe) -> str:
    """The LoRA's name with its version, if it has one."""
    return f"{recipe.name}-{recipe.publish.version}" if recipe.publish.version else recipe.name


def check_name(folder: Path, name: str, inputs: object) -> None:
    """Before hours of work: is the output's name free, or was it made from these very inputs?

    Raises:
        OutputExistsError: the folder holds a LoRA that was made from other inputs or by something else, or pages that
            are no run's.
    """
    lora = folder / f"{name}.safetensors"
    if lora.exists() and _inputs_of(folder) != _digest(inputs):
        raise OutputExistsError(
            f"{lora}: exists and was made from other inputs; it is not overwritten. `--as v2` writes beside "
            "it, another --out elsewhere; everything that is computed stays cached"
        )
    _refuse_others_files(folder, _PAGES)


def check_place(folder: Path, screenshots: Iterable[Path]) -> None:
    """Published pictures among the screenshots would be taken for screenshots by the next run.

    Raises:
        OutputExistsError: the folder is one of screenshots, or lies in one.
    """
    target = folder.resolve()
    for shots in screenshots:
        if target.is_relative_to(shots.resolve()):
            raise OutputExistsError(
                f"{folder}: the LoRA would be written among the screenshots in {shots}; another --out, or another "
                "name, keeps them apart"
            )


def for_everybody(files: Mapping[str, Path], name: str) -> dict[str, Path]:
    """What goes to a hub: nothing that shows the screenshots, or more than one epoch."""
    shown = (f"{name}.safetensors", f"{name}.png", f"{name}.json", "README.md", "prompts.txt", "samples/grid.png")
    return {file: files[file] for file in shown if file in files}


def write_folder(files: Mapping[str, Path], folder: Path, name: str, inputs: object) -> None:
    """Copy a run's files; a LoRA that lies there is kept, or the run refused.

    Reports and pictures of an earlier run on the same LoRA are replaced; files that are not ours stay.

    Raises:
        OutputExistsError: NAME.safetensors exists with other bytes, or a file that no run wrote has the name of one
            that is to be written. Nothing is written then.
    """
    lora = f"{name}.safetensors"
    target = folder / lora
    if target.exists() and file_digest(target) != file_digest(files[lora]):
        raise OutputExistsError(f"{target}: exists with other bytes and is not overwritten; `--as v2` writes beside it")
    _refuse_others_files(folder, files)
    remove_leftovers(folder)
    write_atomically(folder / INPUTS_FILE, _digest(inputs).encode())  # first: what it stands beside is ours
    for file in files:
        if file != lora:
            _copy(files[file], folder / file)
    # The LoRA last: its presence means that all is there. A run killed before that finds the name free.
    _copy(files[lora], target)


def _refuse_others_files(folder: Path, names: Iterable[str]) -> None:
    """Without our mark nothing in a folder is ours: somebody's README must not be taken for an old one of a run's."""
    if (folder / INPUTS_FILE).is_file():
        return
    if taken := next((path for name in names if (path := folder / name).is_file()), None):
        raise OutputExistsError(
            f"{taken}: would be replaced, and no run wrote it; another --out, or another name, keeps them apart"
        )


def _copy(original: Path, path: Path) -> None:
    if not _is_copy(path, original):
        with replacing(path) as temporary:
            shutil.copyfile(original, temporary)


def _is_copy(path: Path, original: Path) -> bool:
    same_size = path.is_file() and path.stat().st_size == original.stat().st_size
    return same_size and file_digest(path) == file_digest(original)


def _inputs_of(folder: Path) -> str:
    path = folder / INPUTS_FILE
    return path.read_text("utf-8") if path.is_file() else ""


def _digest(inputs: object) -> str:
    return digest_of(canonical_json(inputs))


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
    newest = _newest(out, recipe)
    if newest is None:
        return None
    try:
        report = _report_beside(newest)
        chosen = Verdict.model_validate(report["verdict"]).chosen.metrics
        drawing = report["made"]["base"]["sha256"], report["recipe"]["sampling"]
    except (OSError, ValueError, PublishError, ValidationError, KeyError, TypeError, StopIteration):
        return f"{newest.stem}: its {_REPORT} cannot be read, so the new version is not compared with it"
    if drawing != (base.sha256, recipe.sampling.model_dump(mode="json")):
        return f"{newest.stem} was judged on other prompts or another base; the new version is not compared with it"
    return Previous(newest.stem, chosen)


def to_start_from(out: Path, recipe: Recipe, base: CheckpointRef) -> Path | None:
    """The LoRA file of the newest version that was published before, for a training to begin with; None: there is none.

    Raises:
        PublishError: it is of another base or of another shape, or its report cannot be read.
    """
    newest = _newest(out, recipe)
    if newest is None:
        return None
    try:
        report = _report_beside(newest)
        made_on, before = report["made"]["base"]["sha256"], Recipe.model_validate(report["recipe"])
    except (OSError, ValueError, PublishError, KeyError, TypeError):
        raise PublishError(f"{newest.parent / _REPORT}: cannot be read, {_START_ANEW}") from None
    if made_on != base.sha256:
        raise PublishError(f"{newest}: was made for another base model, {_START_ANEW}")
    was, now = before.character_training, recipe.character_training
    shapes = {
        "rank": (was.rank, now.rank), "alpha": (was.alpha, now.alpha), "network": (was.network, now.network),
        "trained U-Net": (was.unet_lr > 0, now.unet_lr > 0),
        "trained text encoder": (was.text_encoder_lr > 0, now.text_encoder_lr > 0),
    }  # fmt: skip
    if other := next((name for name, (old, new) in shapes.items() if old != new), None):
        old, new = shapes[other]
        told = f" ({old} there, {new} here)" if other != "network" else ""
        raise PublishError(f"{newest}: was trained with another {other}{told}, {_START_ANEW}")
    return newest


_START_ANEW = "so no training can begin with it; set [character_training] start = 'new', or what differs as it was"


def _newest(out: Path, recipe: Recipe) -> Path | None:
    """The LoRA file of the newest version but the one to come, which may lie there already."""
    target = out / published_name(recipe) / f"{published_name(recipe)}.safetensors"
    before = target.stat().st_mtime if target.exists() else float("inf")
    found = [path for path in _versions(out, recipe.name) if path != target and path.stat().st_mtime < before]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _report_beside(lora: Path) -> Any:
    return json_of(read_bounded(lora.parent / _REPORT, TABLE_BYTES, PublishError))


def _versions(out: Path, name: str) -> Iterator[Path]:
    """LoRA files of a character's versions: NAME/NAME.safetensors, NAME-v2/NAME-v2.safetensors …"""
    for report in out.glob(f"*/{_REPORT}"):
        folder = report.parent
        lora = folder / f"{folder.name}.safetensors"
        if lora.exists() and (folder.name == name or folder.name.startswith(f"{name}-")):
            yield lora
