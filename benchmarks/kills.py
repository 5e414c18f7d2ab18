"""Whole `headcanon run`s that are killed or stopped at random moments, each carried to its end by the same command.

    python benchmarks/kills.py --each 30 --seed 1 --out kills.md

One undisturbed run of a toy recipe (the demo's models, 64 px) says what has to come out and how much processor time it
takes. Then so many runs die of kill -9, and as many are stopped by SIGTERM, SIGINT or SIGHUP in turn, each in a folder
of its own, at a moment drawn evenly over the whole run, start, report and publishing included: processor time, so that
a busy machine draws the same moments. Of each it is asked: is every process gone? Did it say what it should, with the
right exit status? Does the same command end with the bytes of the undisturbed run? Is a temporary file left in `out` or
in the store? Is `store verify` clean? Exits with 1 if anything is not as it should be.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import psutil
from toy_recipe import toy_recipe

from demo.world import STYLE, TARGET, screenshots
from demo.world.screenshot import PLAN
from lora_core.store.digests import file_digest

_MARK = "HEADCANON_KILLS"
_GONE_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.02
_SAYS_WHEN = ("report.html", "report.json")
"""Published files that tell how long the steps took, and so are never the same twice."""


@dataclass(frozen=True)
class Disturbance:
    """What is done to a run.

    Attributes:
        number: counted from 1.
        by: the signal.
        share: of an undisturbed run's processor time, at which it comes.
    """

    number: int
    by: signal.Signals
    share: float


@dataclass(frozen=True)
class Row:
    """What became of a disturbed run.

    Attributes:
        disturbance: what was done.
        where: the last line that the run had said.
        status: its exit status.
        told: its own last line.
        faults: what is not as it should be.
    """

    disturbance: Disturbance
    where: str
    status: int
    told: str
    faults: tuple[str, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table has it."""
        by, said = self.disturbance.by.name, self.told.replace("|", "/")
        return (
            str(self.disturbance.number), by, f"{self.disturbance.share:.3f}", self.where.replace("|", "/"),
            str(self.status), said, "; ".join(self.faults) or "none",
        )  # fmt: skip


class Folder:
    """A project that is run in a folder of its own; its processes bear a mark."""

    def __init__(self, root: Path, drawn: Path, prefect_home: Path) -> None:
        shutil.copytree(drawn, root)
        (root / "recipe.toml").write_text(toy_recipe(64, 64, 1, 1))
        self.root, self.mark = root, uuid.uuid4().hex
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "OMP_"))}
        self._environment = {**kept, "PREFECT_HOME": str(prefect_home), "OMP_NUM_THREADS": "1", _MARK: self.mark}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`headcanon` with arguments, in a process group of its own; what it says goes to said.log."""
        with (self.root / "said.log").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
                cwd=self.root, env=self._environment, stdout=said, stderr=said, start_new_session=True,
                preexec_fn=_hear_signals,
            )  # fmt: skip

    def run(self, *arguments: str) -> int:
        """`headcanon` with arguments, waited for."""
        return self.start(*arguments).wait()

    @property
    def said(self) -> list[str]:
        """Lines that the last command said."""
        return (self.root / "said.log").read_text(errors="replace").strip().splitlines()

    def processes(self) -> list[psutil.Process]:
        """Everything that was started here and still runs."""
        return [one for one in psutil.process_iter() if _marked(one, self.mark)]

    def published(self) -> dict[str, str]:
        """Digest of every published file that is the same each time."""
        out = self.root / "out"
        return {
            str(path.relative_to(out)): file_digest(path)
            for path in out.rglob("*")
            if path.is_file() and path.name not in _SAYS_WHEN
        }

    def temporary(self) -> list[str]:
        """Files and folders that something left half made."""
        found = [*self.root.rglob("*.tmp"), *self.root.glob("store/**/*incoming-*")]
        return [str(path.relative_to(self.root)) for path in found]


def _hear_signals() -> None:
    """A shell's background jobs ignore Ctrl-C, and `nohup` the terminal's end; what they start would, too."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == mark)
    except psutil.Error:
        return False


def disturb(folder: Folder, disturbance: Disturbance, whole_seconds: float, like: dict[str, str]) -> Row | None:
    """Run, disturb, look, run again, look again; None if the run had ended before."""
    process = folder.start("run", "recipe.toml")
    if not _reached(process, disturbance.share * whole_seconds):
        return None
    where = next(iter(reversed(folder.said)), "")
    # As a closed terminal and Ctrl-C do it, the whole group; `kill` and a supervisor tell the process alone.
    whole_group = disturbance.by in (signal.SIGINT, signal.SIGHUP)
    (os.killpg if whole_group else os.kill)(process.pid, disturbance.by)
    status = process.wait()
    if disturbance.by != signal.SIGKILL and status == 0:
        return None
    told = next((line for line in folder.said if line.startswith("headcanon: ")), "")
    faults = [*_wrong_end(disturbance, status, folder.said), *_left(folder)]
    if again := folder.run("run", "recipe.toml"):
        faults.append(f"the same command ends with {again}: {folder.said[-1:]}")
    if folder.published() != like:
        faults.append("other bytes")
    faults += _left(folder)
    if folder.run("store", "gc", "--store", "store", "--yes"):
        faults.append(f"store gc: {folder.said[-1:]}")
    if left := folder.temporary():
        faults.append(f"left: {', '.join(left[:3])}")
    if folder.run("store", "verify", "--store", "store"):
        faults.append(f"store verify: {folder.said[-1:]}")
    return Row(disturbance, where, status, told, tuple(faults))


def _reached(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait until a process has used so much processor time; False: it ended before."""
    while process.poll() is None:
        if _used(process.pid) >= seconds:
            return True
        time.sleep(_LOOK_EVERY_SECONDS)
    return False


def _wrong_end(disturbance: Disturbance, status: int, said: Sequence[str]) -> Iterator[str]:
    if disturbance.by == signal.SIGKILL:
        return
    told = [line for line in said if line.startswith("headcanon: ")]
    # Before the first line of ours runs, Python itself has the signal.
    if status not in (128 + disturbance.by, -disturbance.by):
        yield f"exit status {status}"
    if status > 0 and (len(told) != 1 or "Run the same command to resume" not in told[0]):
        yield f"says {told}"
    if any("Traceback" in line for line in said):
        yield "a traceback"


def _left(folder: Folder) -> Iterator[str]:
    """Processes that do not end with the command."""
    _, alive = psutil.wait_procs(folder.processes(), timeout=_GONE_SECONDS)
    if alive := [one for one in alive if _marked(one, folder.mark)]:
        yield f"{len(alive)} processes left"
    for one in alive:
        one.kill()


def drawn_disturbances(each: int, seed: int) -> list[Disturbance]:
    """As many kills as stops; the moments of both are spread evenly over the run, each at random in its part."""
    dice = random.Random(seed)
    stops = islice(cycle((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)), each)
    moments = [[(part + dice.random()) / each for part in range(each)] for _ in range(2)]
    for one in moments:
        dice.shuffle(one)
    pairs = zip([*[signal.SIGKILL] * each, *stops], [*moments[0], *moments[1]], strict=True)
    return [Disturbance(number, by, share) for number, (by, share) in enumerate(pairs, 1)]


def main() -> int:
    """Print a row as soon as it is there, and the table at the end; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=30, help="so many kills -9, and so many stops")
    parser.add_argument("--seed", type=int, default=1, help="draws the moments")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of rows to do again")
    parser.add_argument("--out", type=Path, default=Path("kills.md"), help="the table")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        for character, name in ((STYLE, "style"), (TARGET, "character")):
            screenshots(character, root / "drawn" / name, seed=3, plan=dict.fromkeys(PLAN, 1))
        undisturbed = Folder(root / "undisturbed", root / "drawn", root / "prefect")
        process = undisturbed.start("run", "recipe.toml")
        used = _whole(process)
        assert process.returncode == 0, undisturbed.said
        _say(f"seed {asked.seed}; undisturbed: {used:.1f} s of processor time, {len(undisturbed.published())} files\n")
        rows = []
        for one in drawn_disturbances(asked.each, asked.seed):
            if not asked.only or one.number in asked.only:
                rows.append(_done(root, one, used, undisturbed.published()))
                _say(" | ".join(rows[-1].cells))
                asked.out.write_text(_table(rows, asked.seed, used))
    bad = [row for row in rows if row.faults]
    _say(f"\n{_table(rows, asked.seed, used)}\n{len(rows)} runs, {len(bad)} not as they should be")
    return 1 if bad else 0


def _whole(process: subprocess.Popen[bytes]) -> float:
    """Seconds of processor time of a process at its end, without those of its children."""
    seconds = 0.0
    while process.poll() is None:
        seconds = max(seconds, _used(process.pid))
        time.sleep(_LOOK_EVERY_SECONDS)
    return seconds


def _used(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _done(root: Path, disturbance: Disturbance, used: float, like: dict[str, str]) -> Row:
    """A run that had ended before its moment is done again, disturbed a little earlier."""
    share = disturbance.share
    while True:
        folder = Folder(root / f"{disturbance.number}-{share:.3f}", root / "drawn", root / "prefect")
        row = disturb(folder, Disturbance(disturbance.number, disturbance.by, share), used, like)
        shutil.rmtree(folder.root)
        if row:
            return row
        share *= 0.95


def _table(rows: Sequence[Row], seed: int, used: float) -> str:
    head = ("run", "by", "at", "last said", "exit", "told", "faults")
    lines = [" | ".join(cells) for cells in (head, ("---",) * len(head), *(row.cells for row in rows))]
    bad = sum(bool(row.faults) for row in rows)
    summary = f"Seed {seed}, {used:.1f} s of processor time undisturbed: {len(rows)} runs disturbed, {bad} with faults."
    return "\n".join((summary, "", *(f"| {line} |" for line in lines), ""))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
