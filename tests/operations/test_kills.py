"""`benchmarks/kills.py`, with three kills and three stops: at random moments of whole runs, each carried to its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]

_ROOT = Path(__file__).parents[2]


def test_runs_that_are_killed_or_stopped_anywhere_end_with_the_same_bytes_and_leave_nothing(tmp_path: Path) -> None:
    table = tmp_path / "kills.md"
    script = [sys.executable, str(_ROOT / "benchmarks/kills.py"), "--each", "3", "--seed", "7", "--out", str(table)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(script, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, (done.stdout, done.stderr)
    rows = [line for line in table.read_text().splitlines() if " | SIG" in line]
    assert [row.split(" | ")[1] for row in rows] == ["SIGKILL"] * 3 + ["SIGTERM", "SIGINT", "SIGHUP"]
    assert all(row.endswith("| none |") for row in rows)
