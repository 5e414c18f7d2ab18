"""Runs a recipe again and again in child processes, each killed with its first file of one step half written.

    python killed_in_steps.py RECIPE.toml STEP…

The children are forked from a parent that has imported everything and computed nothing. For each step a line says
whether its child died in it (-9) or never came to it (0). "publish" is killed too, though it is never cached.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import flows.cli  # noqa: F401  (Prefect's settings, before it is imported)
from flows.cli.run import execute
from lora_core.diffusion import components  # noqa: F401  (heavy, and wanted by every child)
from lora_core.report import assemble  # noqa: F401
from lora_core.store import files
from lora_core.training import run  # noqa: F401
from tasks import caching, publish


def _die(path: Path) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(f"unreachable: killed before {path} was there")


def _die_in(step: str) -> None:
    """From the moment that this step really works, the next file that is written is the process' last."""
    entered, write_folder = caching.accelerator, publish.folder.write_folder

    @contextlib.contextmanager
    def entering(name: Any, at: Any) -> Iterator[None]:
        with entered(name, at):
            if name == step:
                files.sync = _die
            yield

    def publishing(*arguments: Any) -> None:
        if step == "publish":
            files.sync = _die
        write_folder(*arguments)

    caching.accelerator = entering
    publish.folder.write_folder = publishing


def main() -> None:
    """Fork a child for each step."""
    recipe, steps = Path(sys.argv[1]), sys.argv[2:]
    for step in steps:
        child = os.fork()
        if not child:
            _die_in(step)
            execute(recipe, None)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{step}: {code}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
