"""From readings to figures: the sums behind `results.json`."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from demo.proof.arms import CORE, NAIVE, NOTE, Arm
from demo.proof.bootstrap import Place, figure, ratio
from demo.proof.measures import IDENTITY, LEAK, PROBE, figure_names, levels, measures
from demo.proof.results import ArmFigures, ClaimStatus, Contrast, EpochFigures, GateRow
from demo.proof.run import Outcome
from lora_core.judging.bootstrap import Score
from lora_core.sampling.samples import NO_LORA

MOST_LEAK: Final = 0.5
"""Of naive's: the project's claim."""
IDENTITY_MARGIN: Final = 0.05
"""Losing less identity than this counts as losing none."""
_HARDLY_LEAKS: Final = 0.02


class Row(NamedTuple):
    """One sample's figures and where it belongs."""

    place: Place
    epoch: str
    prompt_index: int
    seed: int
    values: dict[str, float]


def rows_of(outcome: Outcome) -> list[Row]:
    """The figures of every sample of an arm run, those without the LoRA as levels."""
    place = Place(outcome.run.pair.name, outcome.run.seed)
    character = outcome.run.pair.character
    base = {(s.prompt_index, s.seed): outcome.readings[s.image] for s in outcome.samples.of(NO_LORA)}
    rows = []
    for sample in outcome.samples.samples:
        drawn, without = outcome.readings[sample.image], base[sample.prompt_index, sample.seed]
        values = (
            levels(character, sample.prompt, without)
            if sample.epoch == NO_LORA
            else measures(character, sample.prompt, drawn, without)
        )
        rows.append(Row(place, sample.epoch, sample.prompt_index, sample.seed, values))
    return rows


def figures(rows: Sequence[Row]) -> dict[str, Score]:
    """Every figure that occurs, over the rows that have it."""
    found = {}
    for name in figure_names(row.values for row in rows):
        having = [row for row in rows if name in row.values]
        found[name] = figure([row.values[name] for row in having], [row.place for row in having])
    return found


def base_levels(outcomes: Iterable[Outcome]) -> dict[str, Score]:
    """What the base shows without a LoRA, each pair's pictures once."""
    pairs: dict[str, list[Row]] = {}
    for outcome in outcomes:
        rows = [row._replace(place=Place(row.place.pair, 0)) for row in rows_of(outcome) if row.epoch == NO_LORA]
        pairs.setdefault(outcome.run.pair.name, rows)
    every = [row for rows in pairs.values() for row in rows]
    return figures(every) if every else {}


def arm_figures(arm: Arm, outcomes: Sequence[Outcome]) -> ArmFigures:
    """One arm, epoch by epoch."""
    rows = [row for outcome in outcomes for row in rows_of(outcome) if row.epoch != NO_LORA]
    epochs = sorted({row.epoch for row in rows}, key=int)
    passed = [outcome for outcome in outcomes if outcome.gates_passed]
    some = outcomes[0].gates is not None and 0 < len(passed) < len(outcomes)
    return ArmFigures(
        name=arm.name,
        title=arm.title,
        core=arm.name in CORE,
        changes=arm.like or NOTE,
        runs=tuple(f"{outcome.run.pair.name}, seed {outcome.run.seed}" for outcome in outcomes),
        epochs=tuple(
            EpochFigures(epoch=epoch, figures=figures([row for row in rows if row.epoch == epoch])) for epoch in epochs
        ),
        merges=any(outcome.gates for outcome in outcomes),
        gates_passed=len(passed),
        passed=figures(_last_rows(arm.name, passed)) if some else None,
    )


def gate_rows(outcomes: Sequence[Outcome]) -> tuple[GateRow, ...]:
    """The gates of every merged model, each once, with the arms that share it."""
    rows: dict[tuple[str, int, str], GateRow] = {}
    for outcome in outcomes:
        if outcome.gates is None:
            continue
        pair, seed = outcome.run.pair.name, outcome.run.seed
        key = (pair, seed, outcome.gates.merged_model.sha256)
        arms = (*(rows[key].arms if key in rows else ()), outcome.run.arm.name)
        gates = outcome.gates
        rows[key] = GateRow(
            arms=arms, pair=pair, seed=seed, passed=gates.passed, style=gates.style, merged=gates.merged
        )
    return tuple(rows.values())


def contrast(arm: str, against: str, outcomes: Sequence[Outcome]) -> Contrast | None:
    """An arm against another over the samples that both have; None if they share none."""
    ours, theirs = (
        {(row.place, row.prompt_index, row.seed): row.values for row in _last_rows(name, outcomes)}
        for name in (arm, against)
    )
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return None
    places = [place for place, _, _ in shared]

    def ratio_of(name: str) -> Score | None:
        return ratio([ours[key][name] for key in shared], [theirs[key][name] for key in shared], places, _HARDLY_LEAKS)

    differences, level = {}, {}
    for name in figure_names(ours[key] for key in shared):
        keys = [key for key in shared if name in ours[key] and name in theirs[key]]
        differences[name] = figure([ours[key][name] - theirs[key][name] for key in keys], [key[0] for key in keys])
        level[name] = figure([theirs[key][name] for key in keys], [key[0] for key in keys])
    return Contrast(
        arm=arm,
        against=against,
        runs=len(set(places)),
        differences=differences,
        theirs=level,
        leak_ratio=ratio_of(LEAK),
        probe_ratio=ratio_of(PROBE),
    )


def method(outcomes: Sequence[Outcome]) -> Contrast | None:
    """The note's method against naive, in the runs whose gates passed; None: there is no such run."""
    return contrast(NOTE, NAIVE, [one for one in outcomes if one.run.arm.name == NAIVE or one.gates_passed])


def claim(found: Contrast | None) -> ClaimStatus:
    """Whether the note's method leaks at most half as much as naive and keeps its identity, by the whole intervals."""
    if found is None:
        return "untested"
    if found.leak_ratio is None:
        return "undecided"
    leak, identity = found.leak_ratio, found.differences[IDENTITY]
    if leak.low > MOST_LEAK or identity.high < -IDENTITY_MARGIN:
        return "refuted"
    return "holds" if leak.high <= MOST_LEAK and identity.low >= -IDENTITY_MARGIN else "undecided"


def _last_rows(arm: str, outcomes: Sequence[Outcome]) -> list[Row]:
    found = []
    for outcome in outcomes:
        if outcome.run.arm.name == arm:
            last = outcome.samples.lora_files[-1][0]
            found += [row for row in rows_of(outcome) if row.epoch == last]
    return found
