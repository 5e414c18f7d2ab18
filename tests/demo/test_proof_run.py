"""A proof from end to end through the real flow, as small as it gets."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]


class Proof(NamedTuple):
    """A proof that was run once."""

    out: Path
    home: Path
    arms: tuple[str, ...]
    lines: list[str]


def run(out: Path, home: Path, arms: tuple[str, ...], lanes: int = 2) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "small_proof.py", out, str(lanes), *arms],
        cwd=ROOT,
        env={**kept, "PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def stored(out: Path) -> dict[Path, tuple[int, bytes]]:
    """Inode and bytes of every file in the store: a record's time says when it was used last, and may change."""
    files = [path for path in (out / "store").rglob("*") if path.is_file()]
    return {path: (path.stat().st_ino, path.read_bytes()) for path in files}


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    """Naive, the note's method, and an arm between them whose rule file does not exist."""
    folder = tmp_path_factory.mktemp("proof")
    (folder / "broken.toml").write_text('# an arm that fails\n[captions]\nrules = "/nowhere/captions.toml"\n')
    arms = ("naive", str(folder / "broken.toml"), "note")
    out, home = folder / "out", folder / "prefect"
    return Proof(out, home, arms, run(out, home, arms))


def test_every_arm_run_has_one_line_with_the_time_left(proof: Proof) -> None:
    runs = [line for line in proof.lines if line.startswith("[")]
    assert [line[:5] for line in runs] == ["[1/3]", "[2/3]", "[3/3]"]
    assert {line[6:].partition(":")[0] for line in runs} == {
        f"{arm} on momo-yuki, seed 1" for arm in ("naive", "note", "broken")
    }
    assert all(re.search(r"about .*(s|min) left$", line) for line in runs[:-1])
    assert sum(bool(re.search(r"gate (passed|missed) \(look in [\d.]+ %\)", line)) for line in runs) == 1


def test_an_arm_that_fails_is_told_and_the_others_are_measured(proof: Proof) -> None:
    results = json.loads((proof.out / "results.json").read_text())
    assert [arm["name"] for arm in results["arms"]] == ["naive", "note"]
    assert results["failed"][0]["run"] == "broken on momo-yuki, seed 1"
    assert "/nowhere/captions.toml" in results["failed"][0]["error"]


def test_a_proof_leaves_results_tables_a_chart_and_sheets(proof: Proof) -> None:
    found = {path.name for path in proof.out.iterdir() if path.is_file()}
    assert found == {
        "results.json",
        "table.md",
        "identity-against-leak.png",
        "overview.png",
        "sheet-momo-yuki.png",
    }


def test_only_the_arm_that_merges_has_gates(proof: Proof) -> None:
    results = json.loads((proof.out / "results.json").read_text())
    assert [(row["arms"], row["pair"]) for row in results["gates"]] == [(["note"], "momo-yuki")]
    assert all(0 <= results["gates"][0]["merged"][share] <= 1 for share in ("look", "character", "white", "together"))
    assert [arm["merges"] for arm in results["arms"]] == [False, True]


def test_a_second_call_runs_nothing_and_says_the_same(proof: Proof) -> None:
    before = (proof.out / "results.json").read_bytes()
    kept = stored(proof.out)
    lines = run(proof.out, proof.home, proof.arms)
    assert sum("(cached)" in line for line in lines) == 2
    assert (proof.out / "results.json").read_bytes() == before
    assert stored(proof.out) == kept


def test_what_is_finished_is_collected_without_training_and_says_the_same(proof: Proof) -> None:
    measured = json.loads((proof.out / "results.json").read_text())
    lines = run(proof.out, proof.home, proof.arms, lanes=0)
    assert not [line for line in lines if line.startswith("[")]
    collected = json.loads((proof.out / "results.json").read_text())
    assert {**collected, "failed": measured["failed"], "setting": measured["setting"]} == measured
    assert "broken" not in collected["setting"]["command"]  # an arm that never came to an end
    run(proof.out, proof.home, proof.arms)


def test_an_arm_is_drawn_on_its_merged_model_and_measured_against_the_base(proof: Proof, tmp_path: Path) -> None:
    (tmp_path / "there.toml").write_text('# there\nlike = "note"\ndrawn_on = "merged"\n')
    arms = ("note", str(tmp_path / "there.toml"))
    run(proof.out.parent / "there", proof.home, arms, lanes=1)
    results = json.loads((proof.out.parent / "there" / "results.json").read_text())
    here, there = results["arms"]
    assert (here["name"], there["name"], there["changes"]) == ("note", "there", "note")
    assert here["last"]["figures"].keys() == there["last"]["figures"].keys()
    assert here["last"]["figures"] != there["last"]["figures"]
    assert [row["arms"] for row in results["gates"]] == [["note", "there"]]
    assert results["levels"] == json.loads((proof.out / "results.json").read_text())["levels"]


def test_an_arm_run_alone_in_another_store_reproduces_its_figures_to_the_bit(proof: Proof, tmp_path: Path) -> None:
    run(tmp_path / "out", proof.home, ("naive",), lanes=1)
    here, there = (json.loads((out / "results.json").read_text()) for out in (tmp_path / "out", proof.out))
    assert here["arms"][0] == there["arms"][0]
    assert here["arms"][0]["epochs"]
