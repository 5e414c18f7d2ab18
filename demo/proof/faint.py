"""How much of the look must a base know? Bases that saw it on few of their pictures, and what keeps it out there.

`python -m demo.proof.faint --out DIR` goes on from the base that `python -m demo.proof --unknown-look --out DIR` made:
trains it on with 4 and with .4 % of its pictures in the look, asks each for its words, and runs three arms on it. It
can be stopped at any time. With --write-docs it trains nothing, and writes docs/proof/faint.json and the page with it.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from demo.proof import scope, tables
from demo.proof.arms import NAIVE, PILOT, RECOMMENDED, read_arm
from demo.proof.evaluate import arm_figures
from demo.proof.forgetful import BASES, asked_one, make_base, on_base
from demo.proof.measures import IDENTITY, LEAK
from demo.proof.pairs import PAIRS
from demo.proof.results import ArmFigures, Results, RunFigures, as_lines
from demo.proof.run import Failure, finished, run_all, store_of
from demo.proof.scope import Scope
from lora_core.dataset import Frozen
from lora_core.device import use_threads
from lora_core.judging.bootstrap import Score
from lora_core.judging.look import LookReport
from lora_core.judging.metrics import two_digits
from lora_core.store.files import write_atomically

FAINT_FILE: Final = "faint.json"
SHARES: Final = (0.04, 0.004)
"""Of the pictures that a base was trained on further."""
ARMS: Final = (NAIVE, "captions-only", RECOMMENDED)
_PAIRS: Final = (PILOT, "kuma-momo")
_SHIPPED_SHARE: Final = 0.4
_WORDS: Final = "realistic, nose, lips"
"""The captions' own, which every base is asked first."""


class Faint(Frozen):
    """One arm on one pair, on a base that saw the look on so large a share of its pictures."""

    share: float
    words: Score | None
    """How far the captions' own words move the base's pictures towards the screenshots; None: not asked."""
    arm: str
    pair: str
    identity: float
    leak: float


def base_of(out: Path, share: float) -> Path:
    """Where the base with so large a share of the look lies."""
    return out / f"base-{share:g}"


def of_results(found: Results, base: str, share: float, results: Results, pairs: Sequence[str]) -> list[Faint]:
    """The same rows of a proof that was run before, with its first training seed.

    Args:
        found: what asked both of these bases, shipped and forgetful, for their words.
        base: which one that proof was made with.
        share: of its pictures in the look.
        results: that proof.
        pairs: which rows.
    """
    reports = {one.base: one.report for one in found.asked}
    words = _move(reports.get(base))
    return [
        _row(share, words, arm, run)
        for name in ARMS
        if (arm := results.arm(name))
        for run in arm.runs
        if run.seed == 1 and run.pair in pairs
    ]


def _move(report: LookReport | None) -> Score | None:
    """How far the captions' own words move a base's pictures; None: it was not asked."""
    return next((move.share for move in report.moves if move.word == _WORDS), None) if report else None


def _row(share: float, words: Score | None, arm: ArmFigures, run: RunFigures) -> Faint:
    identity, leak = run.figures[IDENTITY], run.figures[LEAK]
    return Faint(share=share, words=words, arm=arm.name, pair=run.pair, identity=identity, leak=leak)


def table(rows: Sequence[Faint]) -> str:
    """Markdown: a line a base and pair, identity / leak of every arm."""
    lines = []
    for share, pair in sorted({(one.share, one.pair) for one in rows}, key=lambda place: (-place[0], place[1])):
        here = {one.arm: one for one in rows if (one.share, one.pair) == (share, pair)}
        words = next((one.words for one in here.values()), None)
        cells = [_figures(here.get(arm)) for arm in ARMS]
        lines.append([f"{100 * share:g} %", tables.short(words) if words else "–", pair, *cells])
    return tables.table(["pictures in the look", "words move", "pair", *ARMS], lines)


def _figures(one: Faint | None) -> str:
    return f"{two_digits(one.identity)} / {two_digits(one.leak)}" if one else "–"


def read_faint(path: Path) -> list[Faint]:
    """What was measured before; nothing where nothing was."""
    return TypeAdapter(list[Faint]).validate_json(path.read_bytes()) if path.is_file() else []


def main() -> int:
    """Runs what is not finished, or writes what is."""
    parser = argparse.ArgumentParser(prog="python -m demo.proof.faint", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder of the proof with --unknown-look")
    parser.add_argument("--pairs", nargs="+", choices=[p.name for p in PAIRS], default=_PAIRS, metavar="PAIR")
    parser.add_argument("--lanes", type=int, choices=range(1, 65), default=1, metavar="N", help="arm runs at once")
    parser.add_argument("--write-docs", action="store_true", help="train nothing: write the page from what is finished")
    options = parser.parse_args()
    arms = [read_arm(name) for name in ARMS]
    pairs = tuple(pair for pair in PAIRS if pair.name in options.pairs)
    covered = replace(scope.full(arms), pairs=pairs, seeds=(1,), alike=True)
    if options.write_docs:
        return _write_docs(covered, options.out)
    failed = [one for share in SHARES for one in _run(covered, options.out, share, options.lanes)]
    for one in failed:
        sys.stderr.write(f"proof: {one.run.label}: {one.error}\n")
    return 1 if failed else 0


def _run(covered: Scope, out: Path, share: float, lanes: int) -> Iterator[Failure]:
    """Make the base where it is missing, ask it, run the arms."""
    base = base_of(out, share)
    make_base(out, _say)
    if not base.exists():
        from demo.train.forget import faint_base

        _say(f"{base}: trained with {100 * share:g} % of the look, about 15 minutes of one core")
        faint_base(out / BASES["forgetful"], base, share)
    use_threads(1)  # as in a lane
    asked_one(covered, base, out, draw=True)
    here = on_base(covered, base)
    runs = here.arm_runs(scope.drawn(here, out / "world"))
    for result in run_all(runs, here, store_of(out), _say, lanes):
        if isinstance(result, Failure):
            yield result


def _finished(covered: Scope, out: Path) -> Iterator[Faint]:
    """Rows of what is finished on both bases."""
    for share in SHARES:
        if not base_of(out, share).exists():
            continue
        here = on_base(covered, base_of(out, share))
        answer = asked_one(covered, base_of(out, share), out, draw=False)
        words = _move(answer[0]) if answer else None
        for outcome in finished(here.arm_runs(scope.drawn(here, out / "world")), here, store_of(out)):
            figures = arm_figures(outcome.run.arm, [outcome])
            yield _row(share, words, figures, figures.runs[0])


def _write_docs(covered: Scope, out: Path) -> int:
    from demo.proof.docs import DOCS, UNKNOWN_FILE, read_results, write_pages
    from demo.proof.output import RESULTS_FILE

    folder, names = DOCS / "proof", [pair.name for pair in covered.pairs]
    unknown = read_results(folder / UNKNOWN_FILE)
    known = of_results(unknown, "shipped", _SHIPPED_SHARE, read_results(folder / RESULTS_FILE), names)
    rows = [*known, *_finished(covered, out), *of_results(unknown, "forgetful", 0.0, unknown, names)]
    write_atomically(folder / FAINT_FILE, as_lines(rows))
    write_pages()
    _say(table(rows))
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
