"""Trains in child processes that are killed with SIGKILL, one after the other, then once to the end.

    python killed_run.py JOBS.json

Each job names the store, the base, the sets, the options and the kills. A kill is ["step", n]: behind the n-th step of
that child; ["rename", n]: with its n-th file written but not yet renamed; or ["seconds", s]: whenever that is. The
children are forked from a parent that has imported everything and computed nothing. A job's last line is the result's
digest.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lora_core.dataset import Manifest
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training.run import TrainingSet, train


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def finish(job: dict[str, Any], last_step: int = -1) -> str:
    here = 0

    def progress(done: int, total: int, note: str = "") -> None:
        nonlocal here
        here += note.startswith("loss ")
        if here == last_step:
            die()

    ref = train(
        Store(Path(job["store"])),
        CheckpointRef(sha256=job["base"]),
        [TrainingSet(**{**each, "manifest": Manifest.model_validate(each["manifest"])}) for each in job["sets"]],
        Training.model_validate(job["options"]),
        name="hero",
        clip_skip=job["clip_skip"],
        device="cpu",
        key=job["key"],
        trigger="hc_hero",
        progress=progress,
    )
    return ref.sha256


def die_at_rename(number: int) -> None:
    """From now on the number-th rename kills the process instead."""
    whole, renames = Path.replace, 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == number:
            die()
        return whole(self, target)

    Path.replace = replace  # type: ignore[assignment, method-assign]


def child(job: dict[str, Any], kind: str, amount: float) -> int:
    """Fork one; returns its process id."""
    process = os.fork()
    if process:
        return process
    if kind == "rename":
        die_at_rename(int(amount))
    digest = finish(job, int(amount) if kind == "step" else -1)
    if kind == "end":
        sys.stdout.write(f"{digest}\n")
        sys.stdout.flush()
    os._exit(0)


def main() -> None:
    for job in json.loads(Path(sys.argv[1]).read_bytes()):
        for kind, amount in (*job["kills"], ("end", 0)):
            process = child(job, kind, amount)
            if kind == "seconds":
                time.sleep(amount)
                os.kill(process, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if kind != "end":
                sys.stdout.write(f"{kind} {amount}: {code}\n")
                sys.stdout.flush()
            elif code:
                sys.exit(code)


if __name__ == "__main__":
    main()
