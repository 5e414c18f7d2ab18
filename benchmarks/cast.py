"""How much faster a second worker makes a cast: `train-cast` with six of the demo's characters, on one and on two.

    python benchmarks/cast.py                                   six characters, some minutes on a quiet machine
    python benchmarks/cast.py --pictures 4 --epochs 1           smaller

A home of its own for each, a real server, and workers that take one run at a time with one thread each: what a worker
has on a machine of its own. Time counts from the start of the cast's run to the end of the last character's, as the
server has them. The style is one run's work that everybody waits for, so two workers can't halve it.

Exits with 1 when two workers need more than 0.6 of one worker's time where there are two cores, or when the style was
trained more than once.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
import flows.cli  # noqa: F401, I001  (Prefect's settings, before it is imported)
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, TaskRunFilter, TaskRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_HOME, temporary_settings
from reduced import NAMES, draw, recipe

from flows.up import run_until, worker_of
from flows.provision import client_of
from flows.wanted import Wanted

MOST_RATIO = 0.6
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Spent(NamedTuple):
    """What a cast took, and how often its style was trained."""

    seconds: float
    styles: int


def make_home(home: Path, pictures: int, epochs: int) -> None:
    """Six characters with some screenshots each, and the demo's recipe at a reduced size."""
    draw(home / "characters", NAMES[:6], pictures)
    (home / "characters/style").rename(home / "style")
    (home / "recipes").mkdir()
    text = recipe(home / "unused", epochs, style="../style", captions={"memorize": []})
    (home / "recipes/default.toml").write_text(text)


@contextmanager
def running(wanted: Wanted, workers: int) -> Iterator[None]:
    """A server and so many workers, each with one run at a time."""
    ended, there = threading.Event(), threading.Event()
    up = threading.Thread(target=run_until, args=(wanted, ended, lambda _: there.set()))
    further = [worker_of(wanted, f"worker {number}") for number in range(2, workers + 1)]
    up.start()
    try:
        while not there.wait(1):
            if not up.is_alive():
                raise SystemExit(f"nothing was started; {wanted.logs} says why")
        for worker in further:
            worker.start()
        yield
    finally:
        for worker in further:
            worker.end(30)
        ended.set()
        up.join()


def trained(client: SyncPrefectClient, characters: int) -> Spent:
    """Start the cast and wait until the last character is through."""
    client.pause_deployment(client.read_deployment_by_name("watch-inbox/watch-inbox").id)  # it would start runs too
    cast = run_deployment("train-cast/train-cast", timeout=0, as_subflow=False)
    assert isinstance(cast, FlowRun)
    ours = FlowFilter(name=FlowFilterName(any_=["train-cast", "train-character"]))
    while True:
        time.sleep(2)
        runs = client.read_flow_runs(flow_filter=ours)
        states = [run.state_type.value for run in runs if run.state_type]
        if any(state in ENDED[1:] for state in states):
            raise SystemExit(f"a run ended badly: {[(run.name, run.state) for run in runs]}")
        if states.count("COMPLETED") == characters + 1:
            break
    return Spent((_last(runs) - _first(runs)).total_seconds(), _styles(client, ours, characters + 1))


def _styles(client: SyncPrefectClient, ours: FlowFilter, runs: int) -> int:
    """How often the style was trained and not found finished; what a step came to reaches the server a little later."""
    style = TaskRunFilter(name=TaskRunFilterName(any_=["train style"]))
    while True:
        states = Counter(step.state_name for step in client.read_task_runs(flow_filter=ours, task_run_filter=style))
        if states["Completed"] + states["Cached"] == runs:
            return states["Completed"]
        time.sleep(1)


def _first(runs: list[FlowRun]) -> datetime:
    return min(run.start_time for run in runs if run.start_time)


def _last(runs: list[FlowRun]) -> datetime:
    return max(run.end_time for run in runs if run.end_time)


def measure(folder: Path, workers: int, pictures: int, epochs: int, port: int) -> Spent:
    make_home(folder / "home", pictures, epochs)
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    wanted = Wanted(home=folder / "home", port=port, runs=1)
    characters = len(list((folder / "home/characters").iterdir()))
    with (
        temporary_settings({PREFECT_HOME: folder / "prefect"}),
        running(wanted, workers),
        client_of(wanted),
        get_client(sync_client=True) as client,
    ):
        return trained(client, characters)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=12, help="of each character, spread as in the plan of 38")
    options.add_argument("--epochs", type=int, default=6, help="of both trainings")
    options.add_argument("--port", type=int, default=4311)
    asked = options.parse_args()
    spent = {}
    with tempfile.TemporaryDirectory(prefix="headcanon-bench-") as name:
        for workers in (1, 2):
            folder = Path(name) / str(workers)
            spent[workers] = measure(folder, workers, asked.pictures, asked.epochs, asked.port + workers)
            one = spent[workers]
            say(f"{workers} worker{'s'[: workers - 1]}: {one.seconds:.0f} s, the style trained {one.styles} ×")
    cores = len(os.sched_getaffinity(0))
    ratio = spent[2].seconds / spent[1].seconds
    say(f"ratio: {ratio:.2f} (at most {MOST_RATIO}), {cores} cores, load {os.getloadavg()[0]:.1f}")
    sys.exit((cores > 1 and ratio > MOST_RATIO) or any(one.styles != 1 for one in spent.values()))


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
