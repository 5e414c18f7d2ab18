"""Which numbers fit a base model that a person names: from the file where it tells, else by asking."""

import sys
from pathlib import Path

import typer

from flows.cli.scaffold import FittedBase
from lora_core.bases.lineage import Lineage, choices, find_lineage, is_meant, kind_of
from lora_core.bases.presets import BasePreset, base_preset
from lora_core.diffusion.source import Source
from lora_core.errors import RecipeError
from lora_core.hub import find_model_files
from lora_core.store.digests import TAKES_A_WHILE_BYTES, file_digest


def fit(base: str, preset: str = "") -> FittedBase:
    """Inspect a base and find the preset that fits it.

    Args:
        base: a file, a diffusers folder, or owner/name@COMMIT.
        preset: the family's name, if the person gave it.

    Raises:
        CheckpointError: the base cannot be read.
        RecipeError: no such preset, or one for another architecture.
    """
    said = base_preset(preset) if preset else None
    is_local = Path(base).expanduser().exists()
    model, _, commit = (base, "", "") if is_local else base.partition("@")
    files = find_model_files(model, commit)
    lineage = find_lineage(files, model, _digest, deep=said is None)
    source = lineage.source
    if said:
        _refuse_another(said, source, base)
    elif lineage.assumed and sys.stdin.isatty():
        said = _asked(lineage)
    chosen = said or lineage.preset
    told = (f"{kind_of(source)}; taken for {chosen.title}: as you say" if said else lineage.line) + "."
    others = ", ".join(each.name for each in choices(source) if each != chosen)
    if lineage.assumed and others and not said:
        told += f" Other presets for it: {others} (--preset NAME)."
    is_known = said is not None or not lineage.assumed
    more_v = (chosen.prediction, chosen.zero_terminal_snr) != (source.prediction, source.zero_terminal_snr)
    predicts = is_known and chosen.prediction == "v_prediction" and more_v
    needs_vae = "vae" not in source.parts
    if needs_vae:
        told += " It has no VAE: name the file of one that it was made with."
    if is_local:  # named as it was, without the way there: no "..", no link followed but of folders
        given_as = Path(model).expanduser()
        model = str(given_as.parent.resolve() / given_as.name)
    return FittedBase(model, commit, chosen, told, predicts, needs_vae)


def _asked(lineage: Lineage) -> BasePreset:
    for each in choices(lineage.source):
        typer.echo(f"  {each.name:12} {each.title}", err=True)
    question = f"{lineage.reason[:1].upper()}{lineage.reason[1:]}. Which is it?"
    name = typer.prompt(question, default=lineage.preset.name, err=True)
    chosen = base_preset(str(name).strip())
    _refuse_another(chosen, lineage.source, str(name))
    return chosen


def _digest(path: Path) -> str:
    """A single file's SHA-256, with a bar where that takes a while."""
    if path.stat().st_size < TAKES_A_WHILE_BYTES:
        return file_digest(path)
    from tasks.runtime import progress

    with progress("look up its hash", "megabyte") as listen:
        return file_digest(path, listen)


def _refuse_another(preset: BasePreset, source: Source, base: str) -> None:
    """Refuse a preset for another kind of model."""
    if not is_meant(preset, source):
        known = ", ".join(each.name for each in choices(source))
        raise RecipeError(f"{base}: this is {kind_of(source)}, and preset {preset.name!r} is not for it; take {known}")
