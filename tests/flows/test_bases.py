"""Every kind of base × the recipe that `new` writes for it, run whole: read, trained, merged, drawn, judged, published.

The models are tiny and so are the pictures; all else is as `new` writes it: sampler, steps, CFG, template, rates, text
encoders, checkpointing, prediction. CI runs one of them, `make test-long` all.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_project import Project
from typer.testing import CliRunner

from demo.project import MODELS
from flows.cli.app import app

pytestmark = [pytest.mark.slow, pytest.mark.long]

_V = ("sd2-v", "sdxl-v", "sdxl-zsnr")
_NAMES = {
    "sd1": "anything-v5", "sd2": "512-base", "sd2-v": "v2-1_768", "sdxl": "illustriousXL_v01", "sdxl-v": "mine",
    "sdxl-zsnr": "noobai-vpred",
}  # fmt: skip
_PRESETS = {
    "sd1": "sd15-nai", "sd2": "sd2", "sd2-v": "sd2-v", "sdxl": "illustrious", "sdxl-v": "noobai-v",
    "sdxl-zsnr": "noobai-v",
}  # fmt: skip
_SMALL = {"resolution": "64", "repeats": "1", "epochs": "1", "size": "48", "width": "64", "height": "96"}
_FEW = (
    '[sampling]\nprompts = ["{trigger}, 1girl, upper body"]\nstyle_prompts = ["1girl, solo, upper body"]\nseeds = [1]\n'
    "weights = [1.0]\n"
)
_GATES = '[gates]\nstyle = "off"\nmerge = "off"\nepoch = "off"\n'
_MATRIX = [
    pytest.param(kind, layout, marks=pytest.mark.door if (kind, layout) == ("sdxl-zsnr", "file") else ())
    for kind in _NAMES
    for layout in ("file", "folder")
]


@pytest.fixture(scope="module")
def workshop(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Models whose VAE has the levels of real ones: a picture of 64 px is 8 to the U-Net, a sixteenth of the work."""
    return type(workshop)(tmp_path_factory.mktemp("deep"), vae_levels=4)


def write_base(workshop: Any, folder: Path, kind: str, layout: str) -> Path:
    """A base that says what it is as such models do: by tensors in a file, by the scheduler's config in a folder."""
    architecture = kind.partition("-")[0]
    if layout == "file":
        path: Path = workshop.single_file(
            folder / f"{_NAMES[kind]}.safetensors", architecture, metadata=_metadata(kind)
        )
        marks = {"sdxl-v": ("v_pred",), "sdxl-zsnr": ("v_pred", "ztsnr")}.get(kind, ())
        if marks:
            save_file(load_file(path) | {mark: torch.zeros(()) for mark in marks}, path)
        return path
    path = workshop.folder(folder / _NAMES[kind], architecture)
    said: dict[str, object] = {"prediction_type": "v_prediction" if kind in _V else "epsilon"}
    said |= {"rescale_betas_zero_snr": True} if kind == "sdxl-zsnr" else {}
    (path / "scheduler/scheduler_config.json").write_text(json.dumps(said))
    return path


def _metadata(kind: str) -> dict[str, str] | None:
    return {"modelspec.prediction_type": "v"} if kind == "sd2-v" else None


def new(folder: Path, base: Path, method: str) -> str:
    """`headcanon new` in this process, which has imported torch already: a cell starts one process, not two."""
    done = CliRunner().invoke(app, ["new", str(folder), "--base", str(base), "--method", method])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def make_small(recipe: Path) -> None:
    """Small pictures and few of them."""
    text = recipe.read_text()
    for name, value in _SMALL.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
    text = text.replace("[sampling]\n", _FEW).replace("[gates]\n", _GATES).replace("[preprocess]\n", _PREPROCESS)
    recipe.write_text(re.sub(r'^model = ".*wd-swinv2".*$', f"model = '{MODELS}/tagger'", text, flags=re.MULTILINE))


_PREPROCESS = "[preprocess]\nsize = 64\n"


@pytest.mark.parametrize(("kind", "layout"), _MATRIX)
def test_the_recipe_that_new_writes_runs_whole(project: Project, workshop: Any, kind: str, layout: str) -> None:
    base = write_base(workshop, project.folder, kind, layout)
    hero = project.folder / "hero"
    new(hero, base, "note")
    for side in ("style", "character"):
        shutil.rmtree(hero / side)
        shutil.copytree(project.folder / side, hero / side)
    make_small(hero / "recipe.toml")

    done = project.run("run", "hero/recipe.toml")
    assert done.returncode == 0, done.stderr
    out = hero / "out/hero"
    report = json.loads((out / "report.json").read_text())
    drawn, expected = report["recipe"]["sampling"], _expected(kind)
    assert {name: drawn[name] for name in expected} == expected
    text_encoders = report["recipe"]["character_training"]["text_encoder_lr"]
    with safe_open(out / "hero.safetensors", framework="pt") as lora:
        names, metadata = list(lora.keys()), lora.metadata()
    assert any(name.startswith("lora_te") for name in names) == bool(text_encoders)
    assert metadata["ss_v2"] == str(kind.startswith("sd2"))
    with Image.open(out / "hero.png") as picture:
        assert picture.size == (64, 96)
        low, high = picture.convert("L").getextrema()
    assert low < high
    assert drawn["template"].replace("{prompt}", "hchero, 1girl, upper body") in (out / "prompts.txt").read_text()


def _expected(kind: str) -> dict[str, Any]:
    from lora_core.bases.presets import base_preset

    preset = base_preset(_PRESETS[kind])
    return {name: preset.sections["sampling"][name] for name in ("template", "negative", "steps", "cfg", "scheduler")}


def test_a_file_without_a_vae_runs_whole_with_one_that_the_recipe_names(project: Project, workshop: Any) -> None:
    whole = workshop.single_file(project.folder / "whole.safetensors", "sd1")
    tensors, mark = load_file(whole), "first_stage_model."
    vae = {name.removeprefix(mark): each for name, each in tensors.items() if mark in name}
    save_file(vae, project.folder / "vae.safetensors")
    for bare in ("anything-v5", "other"):
        rest = {name: each for name, each in tensors.items() if mark not in name}
        save_file(rest, project.folder / f"{bare}.safetensors")
    hero = project.folder / "hero"
    assert "([base] vae): the model has none." in new(hero, project.folder / "anything-v5.safetensors", "captions-only")
    shutil.rmtree(hero / "character")
    shutil.copytree(project.folder / "character", hero / "character")
    make_small(hero / "recipe.toml")
    refused = project.run("run", "hero/recipe.toml")
    assert (refused.returncode, "there is no such VAE" in refused.stderr) == (2, True)

    text = (hero / "recipe.toml").read_text().replace("path/to/vae.safetensors", "../vae.safetensors")
    further = '[sampling]\ntransfer = ["../other.safetensors", "../whole.safetensors"]\n'
    (hero / "recipe.toml").write_text(text.replace("[sampling]\n", further, 1))
    refused = project.run("run", "hero/recipe.toml")
    assert refused.returncode == 2
    assert "headcanon: other.safetensors: it has no VAE" in refused.stderr
    assert 'name one: [sampling] transfer_vae = "FILE"' in refused.stderr
    assert "train character" not in refused.stderr
    text = (hero / "recipe.toml").read_text().replace(further, f'{further}transfer_vae = "../vae.safetensors"\n')
    (hero / "recipe.toml").write_text(text)
    done = project.run("run", "hero/recipe.toml")
    assert done.returncode == 0, done.stderr
    out = hero / "out/hero"
    with safe_open(out / "hero.safetensors", framework="pt") as lora:
        metadata = lora.metadata()
    assert (metadata["ss_sd_model_name"], metadata["ss_vae_name"]) == ("anything-v5.safetensors", "vae.safetensors")
    drawn = {name: (out / f"transfer/{name}.safetensors/grid.png").read_bytes() for name in ("other", "whole")}
    assert drawn["other"] == drawn["whole"]
