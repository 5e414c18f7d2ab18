"""Is headcanon right on this GPU, and how fast is it beside diffusers + peft and sd-scripts?

    python benchmarks/gpu.py --out gpu.jsonl                          under 12 minutes on a datacentre card
    python benchmarks/gpu.py --out gpu.jsonl --sd-scripts DIR         with a checkout of sd-scripts and what it needs
    python benchmarks/gpu.py --rehearse                               the same at toy size, on the CPU, in a minute

Needs torch, diffusers, transformers, peft, safetensors, numpy, pydantic and pillow, at whatever version is there; no
Prefect, no network, no weights: models have the real shapes and random numbers. onnxruntime (tagging, judging) and
pytest are used where they are installed.

Every row is in the file as soon as it is measured. The most telling jobs come first; each runs in a process of its own
with a limit, so whatever fails (memory that runs out, a crash, a hang) costs its own rows at most. Stop it at any time:
the same command with the same file measures what is missing. What is done with the figures was decided before there
were any: docs/performance.md.
"""

import argparse
import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from measure import checks, drawing, kohya, recipe, steps  # noqa: E402
from measure.runner import Job, Journal, Row, Settings, run_all  # noqa: E402
from measure.ways import Work  # noqa: E402

from lora_core.recipe import Speed  # noqa: E402

PAYS = 1.3
"""An option that wins less than this at batch 1 on SD1.5 and on SDXL is deleted."""
TARGET_SECONDS, TARGET_SPEED = 120.0, 4.0
"""The note's trainings in SD1.5 shapes on an H200, and how many times as fast as the others at the same batch."""
_PACKAGES = ("torch", "diffusers", "transformers", "peft", "safetensors", "pydantic", "pillow", "numpy", "onnxruntime")
_PRELOAD = ("measure.checks", "measure.drawing", "measure.recipe", "measure.steps")
_METADATA, _DECISION = "metadata", "decision"
_PLAINLY = (steps.PLAIN, steps.OURS, steps.PEFT, steps.GRAPHS)
_NOT_REHEARSED = (
    "steps sd1 64 batch 4", "steps sdxl 64 batch 4", "steps sdxl 64 batch 1, compiled", "recipe batch 1",
    "recipe batch 4, CUDA graphs", "draw sd1 batch 1",
)  # fmt: skip
"""The same lines as other jobs'."""
_COMPILED = (steps.OURS, steps.COMPILED, steps.BOTH)


def plan(settings: Settings) -> list[Job]:
    """All jobs, the most telling first, with their limits in seconds; in a rehearsal one of each kind."""
    sd1, sdxl = (64, 64) if settings.rehearse else (512, 1024)
    small, large = Work("sd1", sd1, 1), Work("sdxl", sdxl, 1)
    kohyas = (small,) if settings.rehearse else (small, small._replace(batch=4), large)
    jobs = [
        Job("machine", steps.machine, 60),
        Job("smoke", checks.smoke, 120),
        _compared(small, _PLAINLY, 75),
        _compared(large, _PLAINLY, 100),
        Job("recipe batch 4", recipe.recipe, 90, (4, Speed())),
        _compared(small._replace(batch=4), _PLAINLY, 75),
        _compared(large._replace(batch=4), _PLAINLY, 100),
        *([Job("sd-scripts", kohya.beside, 150, (kohyas,))] if settings.sd_scripts else []),
        Job("out of memory", checks.out_of_memory, 45),
        Job("resume demo", checks.resume, 45, ("demo",)),
        _compared(small, _COMPILED, 120),
        Job("recipe batch 4, CUDA graphs", recipe.recipe, 90, (4, Speed(cuda_graphs="auto"))),
        Job("resume sd1", checks.resume, 60, ("sd1",)),
        Job("draw sd1 batch 4", drawing.draw, 45, ("sd1", 4)),
        Job("tag", drawing.tag, 45),
        _compared(large, _COMPILED, 150),
        Job("draw sdxl batch 4", drawing.draw, 60, ("sdxl", 4)),
        Job("draw sd1 batch 1", drawing.draw, 45, ("sd1", 1)),
        Job("recipe batch 1", recipe.recipe, 150, (1, Speed())),
        Job("tests", checks.suite, 90),
    ]
    return [job for job in jobs if job.name not in _NOT_REHEARSED] if settings.rehearse else jobs


def _compared(work: Work, names: tuple[str, ...], seconds: float) -> Job:
    end = ", compiled" if steps.COMPILED in names else ""
    name = f"steps {work.architecture} {work.side_px} batch {work.batch}{end}"
    return Job(name, steps.steps, seconds, (work, names), needs_seconds=25)


def decisions(rows: list[Row]) -> list[Row]:
    """What docs/performance.md's rule makes of the rows; an option that was not measured at batch 1 stays off."""
    found: list[Row] = []
    for option, way, against in (
        ("cuda_graphs", steps.GRAPHS, "speed_of_ours"), ("compile", steps.COMPILED, "speed_of_ours"),
        ("compile and cuda_graphs", steps.BOTH, "speed_of_ours"),
        ("folded LoRA", steps.OURS, "speed_of_unfolded"),
    ):  # fmt: skip
        gains = {
            row["model"]: row[against][0]
            for row in rows
            if row.get("way") == way and row.get("batch") == 1 and against in row
        }
        verdict = "not measured" if not gains else "on by default" if max(gains.values()) >= PAYS else "delete"
        found.append({"option": option, "gain": gains, "needed": PAYS, "verdict": verdict})
    for row in rows:
        if "estimated_seconds" in row:
            trained = row["estimated_seconds"]["train"]
            of = {"target": "the note's trainings, SD1.5", "batch": row["batch"], "cuda_graphs": row["cuda_graphs"]}
            found.append({**of, "seconds": trained, "at_most": TARGET_SECONDS, "reached": trained < TARGET_SECONDS})
        if row.get("way") == steps.OURS and "speed_of_plain" in row:
            of = {"target": f"beside diffusers + peft, {row['model']}", "batch": row["batch"]}
            speed = row["speed_of_plain"][0]
            found.append({**of, "speed": speed, "at_least": TARGET_SPEED, "reached": speed >= TARGET_SPEED})
    return found


def main() -> int:
    """Measure what the file lacks; returns 1 if a check did not pass or a job failed."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # looking for a GPU must not start CUDA before a fork
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["PYTHONPATH"] = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")])  # for the jobs
    if asked.rehearse:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    journal = Journal(asked.out, lambda text: print(text, flush=True))
    _begin(journal, asked)
    with tempfile.TemporaryDirectory(prefix="gpu-benchmark-") as folder:
        device = asked.device or ("cpu" if asked.rehearse else "cuda")
        scripts = str(asked.sd_scripts.absolute()) if asked.sd_scripts else ""
        settings = Settings(device, asked.rehearse, Path(folder), asked.seconds, scripts)
        jobs = [job for job in plan(settings) if not asked.only or any(word in job.name for word in asked.only)]
        run_all(jobs, settings, journal, 60 if asked.rehearse else asked.minutes, _PRELOAD)
    journal.drop(_DECISION)
    if not asked.rehearse:
        for row in decisions(journal.rows):
            journal.add(_DECISION, row)
    bad = [row for row in journal.rows if row.get("passed") is False or row.get("status") in ("failed", "stopped")]
    print(f"{len(journal.rows)} rows, {len(bad)} of them failed" + (f"; saved in {asked.out}" if asked.out else ""))
    return 1 if bad else 0


def _begin(journal: Journal, asked: argparse.Namespace) -> None:
    """Say what is measured with; refuse to mix two setups in one file."""
    now = _metadata(asked)
    before = next((row for row in journal.rows if row["job"] == _METADATA), None)
    if before is None:
        journal.add(_METADATA, {"date": time.strftime("%Y-%m-%d"), **now})
    elif {name: before.get(name) for name in now} != now:
        raise SystemExit(f"{asked.out}: holds rows of other versions or sizes; give another file to --out")


def _metadata(asked: argparse.Namespace) -> dict[str, Any]:
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "rehearsal": asked.rehearse, "commit": git.stdout.strip(), "python": platform.python_version(),
        "machine": platform.node(), "packages": {name: _version(name) for name in _PACKAGES},
    }  # fmt: skip


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a file of JSON lines; one that is there is continued")
    parser.add_argument("--minutes", type=float, default=12, help="nothing runs longer than that (default: 12)")
    parser.add_argument("--seconds", type=float, default=6, help="that each way to train is timed for (default: 6)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="jobs whose name holds one of these words"
    )
    parser.add_argument("--sd-scripts", type=Path, help="a checkout of kohya-ss/sd-scripts, timed as well")
    parser.add_argument("--device", help="default: cuda, and cpu in a rehearsal")
    parser.add_argument("--rehearse", action="store_true", help="toy sizes: does every line of it run?")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
