"""What a run costs that has nothing to do: the whole graph, every step cached, against a running Prefect server.

    python benchmarks/overhead.py

The demo at a reduced size is run once. Then the same command is run again and again in new processes. What counts
begins when Python is there and Prefect is imported, and ends with the last line; it holds headcanon's own imports, a
look at every screenshot, base model and tagger, the look at every step's record, and all that Prefect tells its server.
The clock is shared with neighbours, processor time is not: read that.

Exits with 1 when the median needs more than 5 seconds of processor time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from reduced import draw, recipe

from flows.child_processes import Child
from flows.healthy import server
from flows.wanted import Wanted

MOST_SECONDS = 5.0

_TIMED = """
import json, sys, time
from pathlib import Path
import flows.cli
import prefect.artifacts, prefect.concurrency.sync, prefect.filesystems, prefect.flow_engine, prefect.task_engine
import prefect.task_runners
begun = time.perf_counter(), time.process_time()
from flows.cli.run import execute
execute(Path(sys.argv[1]), None)
ended = time.perf_counter(), time.process_time()
print(json.dumps([*(b - a for a, b in zip(begun, ended)), begun[1]]))
"""


class Spent(NamedTuple):
    """Seconds on the clock, of the processor, and of the processor for Python's and Prefect's own start."""

    wall: float
    processor: float
    start: float


@contextmanager
def running_server(folder: Path, port: int) -> Iterator[str]:
    """A Prefect server with a database of its own; yields its API's address."""
    wanted = Wanted(home=folder, port=port)
    settings = {**wanted.server_settings(), "PREFECT_HOME": str(folder / "prefect")}
    command = ("server", "start", "--host", wanted.host, "--port", str(port), "--no-ui")
    child = Child("server", command, settings, folder / "server.log")
    child.start()
    try:
        while not server(wanted.address):
            if not child.running:
                raise SystemExit((folder / "server.log").read_text())
            time.sleep(1)
        yield wanted.address
    finally:
        child.end(30)


def run(recipe_file: Path, api: str) -> Spent:
    """The command, in a process of its own."""
    environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_HOME": str(recipe_file.parent / "prefect")}
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _TIMED, str(recipe_file)],
        env={**environment, "PYTHONPATH": root}, cwd=recipe_file.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return Spent(*json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=8, help="of the character and of the style")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--port", type=int, default=4321)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="headcanon-bench-") as name:
        folder = Path(name)
        draw(folder, ["momo"], asked.pictures)
        file = folder / "out" / "project" / "recipe.toml"  # the demo's recipe publishes beside its folder
        file.parent.mkdir(parents=True)
        file.write_text(recipe(folder / "unused", 1, style="../../style", character="../../momo"))
        with running_server(folder, asked.port) as api:
            run(file, api)
            spent = [run(file, api) for _ in range(asked.runs)]
    wall, processor, start = (statistics.median(column) for column in zip(*spent, strict=True))
    say(f"fully cached run, median of {asked.runs}: {wall:.2f} s, {processor:.2f} CPU s (at most {MOST_SECONDS:.0f})")
    say(f"besides, Python and Prefect themselves: {start:.2f} CPU s; load {os.getloadavg()[0]:.1f}")
    sys.exit(processor > MOST_SECONDS)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
