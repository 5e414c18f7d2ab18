"""`benchmarks/gpu.py` rehearsed at toy size, without what a bare GPU machine lacks; and what it is made of."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import runner_jobs

ROOT = Path(__file__).parents[2]
LACKING = (
    "prefect", "tensorboardX", "onnxruntime", "lion_pytorch", "prodigyopt", "typer", "rich", "boto3", "tomlkit", "onnx",
    "matplotlib", "fsspec_s3", "pytest",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment in which only a bare machine's packages can be imported, in every process."""
    folder = tmp_path / "lacking"
    folder.mkdir()
    for name in LACKING:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name!r}', name={name!r})\n")
    (folder / "sitecustomize.py").write_text(f"""
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in {LACKING!r} else find(name, package)
""")
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


@pytest.mark.door
@pytest.mark.long
def test_a_rehearsal_runs_every_kind_of_job_on_a_bare_machine(tmp_path: Path, bare: dict[str, str]) -> None:
    out = tmp_path / "gpu.jsonl"
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), "--rehearse", "--out", str(out)]
    scripts = fake_scripts(tmp_path / "scripts", 0.01)
    done = subprocess.run(
        [*command, "--sd-scripts", str(scripts)], capture_output=True, text=True, check=False, cwd=tmp_path, env=bare
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    failed = [row for row in rows if "error" in row and row["job"] != "sd-scripts"]
    assert not failed, done.stderr[-3000:]
    ended = [row["job"] for row in rows if "status" in row]
    assert ended == [
        "machine", "smoke", "steps sd1 64 batch 1", "steps sdxl 64 batch 1", "recipe batch 4", "sd-scripts",
        "out of memory", "resume demo", "steps sd1 64 batch 1, compiled", "resume sd1", "draw sd1 batch 4", "tag",
        "draw sdxl batch 4", "tests",
    ]  # fmt: skip
    checked = [row for row in rows if "passed" in row]
    assert len(checked) >= 12
    assert all(row["passed"] for row in checked), checked
    timed = {(row["way"], row["model"]): row for row in rows if "share_of_matrix_peak" in row}
    assert {way for way, _ in timed} >= {"diffusers + peft", "ours", "ours, LoRA not folded", "ours, CUDA graphs"}
    for row in timed.values():
        assert row["samples_per_second"] == pytest.approx(1e3 / row["ms_a_step"])
        assert row["share_of_matrix_peak"] is None or 0 < row["share_of_matrix_peak"] < 1
    (recipe,) = [row for row in rows if "estimated_seconds" in row]
    seconds = recipe["measured_seconds"]
    parts = ["load", "encode", "train style, 4 samples", "merge", "train momo, 12 samples", "sample"]
    assert list(seconds) == [*parts, "all"]
    trained = seconds["train style, 4 samples"] + seconds["train momo, 12 samples"]
    assert recipe["estimated_seconds"]["train"] == pytest.approx(trained / 16 * 12_920)
    assert not [row for row in rows if row["job"] == "decision"], "a rehearsal decides nothing"


def test_whatever_ends_a_job_its_rows_stay_and_the_next_one_runs(tmp_path: Path) -> None:
    runner = importlib.import_module("measure.runner")
    settings = runner.Settings("cpu", False, tmp_path)
    jobs = [
        runner.Job("good", runner_jobs.good, 60, (1, 2)), runner.Job("memory", runner_jobs.out_of_memory, 60),
        runner.Job("crash", runner_jobs.crashing, 60), runner.Job("hang", runner_jobs.hanging, 12, needs_seconds=1),
        runner.Job("last", runner_jobs.good, 60, (3,)),
    ]  # fmt: skip
    out = tmp_path / "rows.jsonl"
    runner.run_all(jobs, settings, runner.Journal(out, print), 10, ())
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    found = {job.name: [{n: v for n, v in row.items() if n not in ("job", "seconds")} for row in rows
                        if row["job"] == job.name] for job in jobs}  # fmt: skip
    memory = {"status": "failed", "error": "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"}
    assert found == {
        "good": [{"number": 1}, {"number": 2}, {"status": "done"}],
        "memory": [{"number": 0}, memory],
        "crash": [{"number": 0}, {"status": "failed", "error": "the process ended with -11"}],
        "hang": [{"number": found["hang"][0]["number"]}, {"status": "stopped", "error": "stopped after its 12 s"}],
        "last": [{"number": 3}, {"status": "done"}],
    }
    started = next(row["number"] for row in rows if row["job"] == "hang")
    for _ in range(100):
        if not psutil.pid_exists(started) or psutil.Process(started).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail("what the job had started was still there 10 seconds after it was stopped")


def test_the_same_file_is_continued_and_what_no_time_is_left_for_is_said(tmp_path: Path) -> None:
    runner = importlib.import_module("measure.runner")
    settings, out = runner.Settings("cpu", False, tmp_path), tmp_path / "rows.jsonl"
    done, missing = (runner.Job(name, runner_jobs.good, 60, (1,)) for name in ("done", "missing"))
    out.write_text('{"job": "done", "number": 7}\n{"job": "done", "status": "done"}\n{"job": "missing", "number": 5}\n')
    runner.run_all([done, missing], settings, runner.Journal(out, print), 0, ())
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["job"], row.get("number"), row.get("status")) for row in rows] == [
        ("done", 7, None), ("done", None, "done"), ("missing", None, "no time left"),
    ]  # fmt: skip


def test_the_rule_of_the_docs_decides_by_the_better_of_two_models_at_batch_one() -> None:
    gpu = importlib.import_module("gpu")

    def row(way: str, model: str, gain: float, batch: int = 1, against: str = "speed_of_ours") -> dict[str, Any]:
        return {"way": way, "model": model, "batch": batch, against: [gain, gain, gain]}

    rows = [
        row("ours, CUDA graphs", "sd1 512", 1.31), row("ours, CUDA graphs", "sdxl 1024", 1.02),
        row("ours, compiled", "sd1 512", 1.29), row("ours, compiled", "sd1 512", 1.9, batch=4),
        {**row("ours", "sd1 512", 1.05, against="speed_of_unfolded"), "speed_of_plain": [4.5, 4.0, 5.0]},
    ]  # fmt: skip
    found = gpu.decisions(rows)
    assert {each["option"]: each["verdict"] for each in found if "option" in each} == {
        "cuda_graphs": "on by default", "compile": "delete", "compile and cuda_graphs": "not measured",
        "folded LoRA": "delete",
    }  # fmt: skip
    assert [(each["target"], each["reached"]) for each in found if "target" in each] == [
        ("beside diffusers + peft, sd1 512", True)
    ]


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
def kohya() -> Any:
    return importlib.import_module("measure.kohya")


def test_sd_scripts_is_timed_by_its_progress_bar_behind_its_first_steps(kohya: Any, tmp_path: Path) -> None:
    work = importlib.import_module("measure.ways").Work("sd1", 64, 4)
    kohya.write_inputs(tmp_path, 2, 64)
    scripts = fake_scripts(tmp_path / "scripts", 0.02)
    rate = kohya.samples_a_second(scripts, tmp_path, tmp_path / "base", work, 40, 60)
    assert 4 / 0.02 / 20 < rate <= 4 / 0.02 * 1.1  # a crowded machine sleeps longer


def test_sd_scripts_that_fails_says_its_last_lines(kohya: Any, tmp_path: Path) -> None:
    work = importlib.import_module("measure.ways").Work("sd1", 64, 1)
    kohya.write_inputs(tmp_path, 2, 64)
    scripts = fake_scripts(tmp_path / "scripts", 0.02, 'raise SystemExit("No module named accelerate")')
    with pytest.raises(kohya.KohyaError, match="No module named accelerate"):
        kohya.samples_a_second(scripts, tmp_path, tmp_path / "base", work, 40, 60)


def test_its_command_names_the_methods_options(kohya: Any, tmp_path: Path) -> None:
    work = importlib.import_module("measure.ways").Work("sdxl", 1024, 4)
    command = kohya.command(tmp_path, tmp_path / "base", work, 30)
    assert command[0] == "sdxl_train_network.py"
    options = dict(zip(command[1::2], command[2::2], strict=False))
    wanted = {"--train_batch_size": "4", "--network_dim": "32", "--unet_lr": "0.0001", "--resolution": "1024,1024"}
    assert {name: options[name] for name in wanted} == wanted
    assert command[-3:] == ["--sdpa", "--cache_latents", "--persistent_data_loader_workers"]
