"""Which numbers fit a base model that a person names: from the file where it tells, else by asking."""

import sys
from pathlib import Path

import typer

from flows.cli.scaffold import FittedBase
from lora_core.bases.lineage import Lineage, choices, find_lineage, kind_of
from lora_core.bases.presets import BasePreset, base_preset
from lora_core.diffusion.source import Source
from lora_core.errors import RecipeError
from lora_core.hub import find_model_files


def fit(base: str, preset: str = "") -> FittedBase:
    """Inspect a base and find the preset that fits it.

    Args:
        base: a file, a diffusers folder, or owner/name@COMMIT.
        preset: the family's name, if the person gave it.

    Raises:
        CheckpointError: the base cannot be read.
        RecipeError: no such preset, or one for another architecture.
    """
    given = base_preset(preset) if preset else None
    is_local = Path(base).expanduser().exists()
    model, _, commit = (base, "", "") if is_local else base.partition("@")
    files = find_model_files(model, commit)
    lineage = find_lineage(files, model, deep=given is None)
    source = lineage.source
    if given:
        _refuse_another(given, source, base)
        chosen, reason = given, "as you say"
    else:
        chosen, reason = _asked(lineage) if lineage.assumed and sys.stdin.isatty() else _found(lineage)
    meant = not lineage.assumed or given is not None
    predicts = meant and (chosen.prediction, chosen.zero_terminal_snr) != (source.prediction, source.zero_terminal_snr)
    told = f"{kind_of(source)}; taken for {chosen.title}: {reason}."
    if lineage.assumed and not given:
        others = ", ".join(each.name for each in choices(source) if each != chosen)
        told += f" Other presets for it: {others} (--preset NAME)."
    needs_vae = "vae" not in source.parts
    if needs_vae:
        told += " It has no VAE: name the file of one that it was made with."
    if is_local:  # named as it was, without the way there: no "..", no link followed but of folders
        given_as = Path(model).expanduser()
        model = str(given_as.parent.resolve() / given_as.name)
    return FittedBase(model, commit, chosen, told, predicts, needs_vae)


def _found(lineage: Lineage) -> tuple[BasePreset, str]:
    return lineage.preset, lineage.reason + (", so the plainest is assumed" if lineage.assumed else "")


def _asked(lineage: Lineage) -> tuple[BasePreset, str]:
    known = choices(lineage.source)
    for each in known:
        typer.echo(f"  {each.name:12} {each.title}", err=True)
    question = f"{lineage.reason[:1].upper()}{lineage.reason[1:]}. Which is it?"
    name = typer.prompt(question, default=lineage.preset.name, err=True)
    chosen = base_preset(str(name).strip())
    _refuse_another(chosen, lineage.source, str(name))
    return chosen, "as you say"


def _refuse_another(preset: BasePreset, source: Source, base: str) -> None:
    """Refuse a preset for another kind of model. A v-prediction model may not say that it is one, so that passes."""
    predictions = (source.prediction, preset.prediction)
    if preset.architecture != source.architecture or predictions == ("v_prediction", "epsilon"):
        known = ", ".join(each.name for each in choices(source))
        raise RecipeError(f"{base}: this is {kind_of(source)}, and preset {preset.name!r} is not for it; take {known}")
