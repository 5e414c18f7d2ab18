"""The GPU benchmark runs at toy size, without what a bare GPU machine lacks."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LACKING = ("prefect", "tensorboardX", "onnxruntime", "lion_pytorch", "prodigyopt", "typer", "rich", "demo")
RUNNER = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({LACKING!r}))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_rows_of_every_way_and_the_whole_recipe_are_measured_at_toy_size(tmp_path: Path) -> None:
    scripts = fake_scripts(tmp_path / "scripts", 0.05)
    command = [
        sys.executable, "-W", "ignore", "-c", RUNNER, str(ROOT / "benchmarks/gpu.py"), "--toy", "--device", "cpu",
        "--only", "sd1 64 1 ", "--out", str(tmp_path / "gpu.json"), "--sd-scripts", str(scripts),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "gpu.json").read_bytes())
    rows: dict[str, Any] = {row["way"]: row for row in table["rows"]}
    assert not [row["error"] for row in rows.values() if row["error"]]
    assert list(rows) == ["ours", "diffusers + peft", "sd-scripts", "whole recipe", "ours, eager"]
    for way in ("ours", "diffusers + peft", "sd-scripts", "ours, eager"):
        assert rows[way]["samples_per_second"] > 0
        assert 0 < rows[way]["share_of_peak"] < 1
    seconds = rows["whole recipe"]["seconds"]
    parts = ["load", "encode", "train style, 20 samples", "merge", "train momo, 48 samples", "sample"]
    assert list(seconds) == [*parts, "all"]
    assert seconds["all"] == pytest.approx(sum(seconds[part] for part in parts))
    assert table["metadata"]["toy"] is True
    assert table["metadata"]["matrix_peak_flops"] > 0
    assert "| ours | sd1 64 | 1 | " in done.stdout


def fake_scripts(folder: Path, seconds: float, ending: str = "") -> Path:
    """A script that takes sd-scripts' arguments and draws its progress bar."""
    folder.mkdir()
    (folder / "train_network.py").write_text(f"""
import argparse, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--max_train_steps", type=int)
parser.add_argument("--train_data_dir", type=pathlib.Path)
asked, _ = parser.parse_known_args()
assert list(asked.train_data_dir.glob("*/*.png")), "no pictures"
{ending}
for step in range(asked.max_train_steps + 1):
    print(f"steps:  9%|#    | {{step}}/{{asked.max_train_steps}} [00:00<00:01]", end="\\r", file=sys.stderr, flush=True)
    time.sleep({seconds})
""")
    return folder


@pytest.fixture
def kohya(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("kohya")


def test_sd_scripts_is_timed_by_its_progress_bar_behind_its_first_steps(kohya: Any, tmp_path: Path) -> None:
    work = importlib.import_module("ways").Work("sd1", 64, 4)
    kohya.write_inputs(tmp_path, 2, 64)
    scripts = fake_scripts(tmp_path / "scripts", 0.02)
    rate = kohya.samples_a_second(scripts, tmp_path, tmp_path / "base", work, 40, 60)
    assert 4 / 0.02 / 20 < rate <= 4 / 0.02 * 1.1  # a crowded machine sleeps longer


def test_sd_scripts_that_fails_says_its_last_lines(kohya: Any, tmp_path: Path) -> None:
    work = importlib.import_module("ways").Work("sd1", 64, 1)
    kohya.write_inputs(tmp_path, 2, 64)
    scripts = fake_scripts(tmp_path / "scripts", 0.02, 'raise SystemExit("No module named accelerate")')
    with pytest.raises(kohya.KohyaError, match="No module named accelerate"):
        kohya.samples_a_second(scripts, tmp_path, tmp_path / "base", work, 40, 60)


def test_its_command_names_the_methods_options(kohya: Any, tmp_path: Path) -> None:
    work = importlib.import_module("ways").Work("sdxl", 1024, 4)
    command = kohya.command(tmp_path, tmp_path / "base", work, 30)
    assert command[0] == "sdxl_train_network.py"
    options = dict(zip(command[1::2], command[2::2], strict=False))
    wanted = {"--train_batch_size": "4", "--network_dim": "32", "--unet_lr": "0.0001", "--resolution": "1024,1024"}
    assert {name: options[name] for name in wanted} == wanted
    assert command[-3:] == ["--sdpa", "--cache_latents", "--persistent_data_loader_workers"]
