"""Arm runs side by side."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lane_work import ended, reported, reported_after_b2, stopped

from demo.proof.lanes import side_by_side
from lora_core.errors import HeadcanonError

pytestmark = pytest.mark.slow


def group(work: Path) -> str:
    return work.name[0]


def test_works_of_one_group_follow_one_another_in_one_process_and_groups_run_at_once(tmp_path: Path) -> None:
    works = [tmp_path / name for name in ("a1", "b1", "a2", "b2")]
    done = list(side_by_side(works, group, reported_after_b2, 2))
    names = [works[each.place].name for each in done]
    assert [each.result[0] for each in done] == names
    assert names == ["b1", "b2", "a1", "a2"]
    who = {each.result[0]: each.result[1] for each in done}
    assert len({who["a1"], who["b1"], os.getpid()}) == 3
    assert who["a1"] == who["a2"]
    assert who["b1"] == who["b2"]
    assert {each.result[2] for each in done} == {1}


def test_one_lane_works_in_this_process_in_order_of_the_groups(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    works = [tmp_path / name for name in ("a1", "b1", "a2")]
    try:
        done = list(side_by_side(works, group, reported, 1))
    finally:
        torch.set_num_threads(before)
    assert [each.result for each in done] == [(name, os.getpid(), 1) for name in ("a1", "a2", "b1")]
    assert [each.place for each in done] == [0, 2, 1]


def test_a_process_that_ends_by_itself_is_told_with_what_to_do() -> None:
    with pytest.raises(HeadcanonError, match=r"ended by itself \(exit 9\).*--lanes"):
        list(side_by_side(["a", "b"], lambda work: work, ended, 2))


def test_processes_that_end_well_but_answer_nothing_are_not_waited_for() -> None:
    with pytest.raises(HeadcanonError, match=r"ended by itself \(exit 0\)"):
        list(side_by_side(["a", "b"], lambda work: work, stopped, 2))


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_a_proof_that_is_stopped_or_killed_leaves_no_process_behind(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "work.py"
    script.write_text(
        "import os, signal, time\nfrom pathlib import Path\nfrom demo.proof.lanes import side_by_side\n"
        f"def do(name):\n    Path({str(tmp_path)!r}, name).write_text(str(os.getpid()))\n    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C\n"
        "    list(side_by_side(['a', 'b'], str, do, 2))\n"
    )
    with subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL) as first:
        pids = []
        for name in ("a", "b"):
            while not (tmp_path / name).exists() or not (tmp_path / name).read_text():
                time.sleep(0.05)
            pids.append(int((tmp_path / name).read_text()))
        first.send_signal(how)
        first.wait(timeout=120)
    # Ctrl-C: the first process ends them before it ends itself; killed it can't, so they notice and end.
    deadline = time.monotonic() + (0 if how == signal.SIGINT else 120)
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, pids))


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # nobody waits for orphans
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # ended in between, or a system that has no /proc to ask
