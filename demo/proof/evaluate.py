"""From readings to figures: the sums behind `results.json`."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Final, NamedTuple

from demo.proof.arms import AGAINST, CORE, NOTE, PILOT, PLAIN, RECOMMENDED, Arm
from demo.proof.intervals import Place, figure, holm, p_value
from demo.proof.measures import MAIN, figure_names, levels, measures
from demo.proof.results import ArmFigures, Contrast, EpochFigures, GateRow, RunFigures
from demo.proof.run import Outcome
from lora_core.judging.bootstrap import Score
from lora_core.sampling.samples import NO_LORA

_DIGITS: Final = 4


class Row(NamedTuple):
    """One sample's figures and where it belongs."""

    place: Place
    epoch: str
    values: dict[str, float]


def rows_of(outcome: Outcome) -> list[Row]:
    """The figures of every sample of an arm run, those without the LoRA as levels."""
    pair, seed = outcome.run.pair.name, outcome.run.seed
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
        rows.append(Row(Place(pair, seed, sample.prompt_index, sample.seed), sample.epoch, values))
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
        pairs.setdefault(outcome.run.pair.name, [row for row in rows_of(outcome) if row.epoch == NO_LORA])
    every = [row for rows in pairs.values() for row in rows]
    return figures(every) if every else {}


def arm_figures(arm: Arm, outcomes: Sequence[Outcome]) -> ArmFigures:
    """One arm, epoch by epoch, and run by run at the last one."""
    rows = [row for outcome in outcomes for row in rows_of(outcome) if row.epoch != NO_LORA]
    epochs = sorted({row.epoch for row in rows}, key=int)
    return ArmFigures(
        name=arm.name,
        title=arm.title,
        core=arm.name in CORE,
        changes=arm.like or NOTE,
        runs=tuple(run_figures(outcome) for outcome in outcomes),
        last=EpochFigures(epoch="last", figures=figures(_last_rows(arm.name, outcomes))),
        epochs=tuple(
            EpochFigures(epoch=epoch, figures=figures([row for row in rows if row.epoch == epoch])) for epoch in epochs
        ),
        merges=any(outcome.gates for outcome in outcomes),
        gates_passed=sum(outcome.gates is not None and outcome.gates.passed for outcome in outcomes),
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


def contrasts_of(arms: Sequence[Arm], outcomes: Sequence[Outcome]) -> tuple[Contrast, ...]:
    """Every arm against plain LoRAs, the recommended arm and the note's, and against the one that it is like.

    Arms that are compared with the same one are a family, and so are all that are compared with what they are like:
    p-values are corrected for the arms and main figures of their family.
    """
    families = [[(arm.name, other) for arm in arms if arm.name != other] for other in AGAINST]
    compared = {pair for family in families for pair in family}
    families.append([(arm.name, arm.like) for arm in arms if arm.like and (arm.name, arm.like) not in compared])
    return tuple(one for family in families for one in _corrected(family, outcomes))


def without_pilot(outcomes: Sequence[Outcome]) -> tuple[Contrast, ...]:
    """The recommended arm against plain LoRAs over the pairs on which nothing was chosen; p-values not corrected."""
    others = [outcome for outcome in outcomes if outcome.run.pair.name != PILOT]
    return tuple(one for plain in PLAIN if (one := contrast(RECOMMENDED, plain, others)))


def differences(arm: str, against: str, outcomes: Sequence[Outcome]) -> tuple[list[Row], list[Row]]:
    """An arm's rows less another's, and the other's own, over the samples that both have."""
    ours, theirs = ({row.place: row for row in _last_rows(name, outcomes)} for name in (arm, against))
    shared = sorted(set(ours) & set(theirs))
    less = [
        ours[place]._replace(
            values={
                name: value - theirs[place].values[name]
                for name, value in ours[place].values.items()
                if name in theirs[place].values
            }
        )
        for place in shared
    ]
    return less, [theirs[place] for place in shared]


def contrast(arm: str, against: str, outcomes: Sequence[Outcome]) -> Contrast | None:
    """An arm against another over the samples of both, its p-values not corrected; None if they share none."""
    less, theirs = differences(arm, against, outcomes)
    if not less:
        return None
    having = {name: [row for row in less if name in row.values] for name in MAIN}
    return Contrast(
        arm=arm,
        against=against,
        runs=len({row.place[:2] for row in less}),
        pairs=len({row.place.pair for row in less}),
        differences=figures(less),
        theirs=figures(theirs),
        p={
            name: p_value([row.values[name] for row in rows], [row.place for row in rows])
            for name, rows in having.items()
            if rows
        },
    )


def _corrected(family: Sequence[tuple[str, str]], outcomes: Sequence[Outcome]) -> list[Contrast]:
    found = [one for arm, against in family if (one := contrast(arm, against, outcomes))]
    corrected = holm({f"{one.arm}/{name}": p for one in found for name, p in one.p.items()})
    return [one.model_copy(update={"p": {name: corrected[f"{one.arm}/{name}"] for name in one.p}}) for one in found]


def run_figures(outcome: Outcome) -> RunFigures:
    """Every figure's mean over a run's samples of the last epoch."""
    rows = _last_rows(outcome.run.arm.name, [outcome])
    return RunFigures(
        pair=outcome.run.pair.name,
        seed=outcome.run.seed,
        figures={
            name: round(fmean(row.values[name] for row in rows if name in row.values), _DIGITS)
            for name in figure_names(row.values for row in rows)
        },
        redrawn=outcome.redrawn,
    )


def _last_rows(arm: str, outcomes: Sequence[Outcome]) -> list[Row]:
    found = []
    for outcome in outcomes:
        if outcome.run.arm.name == arm:
            last = outcome.samples.lora_files[-1][0]
            found += [row for row in rows_of(outcome) if row.epoch == last]
    return found
