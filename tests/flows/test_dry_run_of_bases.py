"""The dry run of the recipe that `new` writes, on a file of each family's layout: fitting numbers, steps, memory.

The files have the real tensor names and small shapes.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo.project import MODELS
from flows.cli.fitting import fit
from flows.cli.scaffold import write_new
from flows.plan import dry_run
from lora_core.bases.presets import BasePreset, base_preset, base_presets
from lora_core.recipe_file import read_recipe
from tasks.runtime import RunContext

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store: the pictures are prepared and tagged once."""
    return tmp_path_factory.mktemp("store")


def write_file(workshop: Any, folder: Path, preset: BasePreset) -> Path:
    """A file as this family's are called and marked."""
    metadata = {"modelspec.prediction_type": "v"} if preset.name == "sd2-v" else None
    name = f"{preset.names[0]}.safetensors"
    path: Path = workshop.single_file(folder / name, preset.architecture, metadata=metadata)
    if preset.zero_terminal_snr:
        save_file(load_file(path) | {"v_pred": torch.zeros(()), "ztsnr": torch.zeros(())}, path)
    return path


@pytest.mark.parametrize("preset", base_presets(), ids=lambda preset: preset.name)
def test_the_dry_run_shows_fitting_numbers_steps_and_memory(
    preset: BasePreset, workshop: Any, drawn: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_new(tmp_path / "hero", "note", fit(str(write_file(workshop, tmp_path, preset))))
    path = tmp_path / "hero/recipe.toml"
    text = re.sub(r'^model = ".*wd-swinv2".*$', f"model = '{MODELS}/tagger'", path.read_text(), flags=re.MULTILINE)
    for side in ("style", "character"):
        text = text.replace(f'{side} = "{side}"', f'{side} = "{drawn / side}"')
    path.write_text(text.replace("[runtime]\n", f'[runtime]\nstore = "{shared}"\n'))
    recipe = read_recipe(path)

    found = dry_run(recipe, RunContext.of(recipe))
    assert (found.lineage.preset.name, found.lineage.assumed) == (preset.name, False)
    assert found.misfits == ()
    style, character = preset.sections["style_training"], preset.sections["character_training"]
    assert found.style is not None
    assert found.style.total_steps == 4 * style["repeats"] // style["batch"] * 10
    shown = 4 * (character["repeats"] + preset.sections["downscale"]["repeats"])
    assert found.character.samples_per_epoch == 2 * shown  # stage 1's pictures as often
    sizes = {each.size for each in found.character.buckets}
    assert sizes == {(side, side) for side in (character["resolution"], preset.sections["downscale"]["size"])}
    assert found.memory.bytes > 0


def test_sdxl_takes_a_tenth_of_the_steps_that_the_note_would() -> None:
    """38 pictures: the note's (380 + 76) × 2 × 10 samples one by one, SDXL's (190 + 38) × 2 × 10 four at once."""
    steps = {}
    for name in ("sd15", "illustrious"):
        sections = base_preset(name).sections
        trained = sections["character_training"]
        samples = 38 * (trained["repeats"] + sections["downscale"]["repeats"]) * 2 * trained["epochs"]
        steps[name] = samples // trained["batch"]
    assert steps == {"sd15": 9120, "illustrious": 1140}
