"""The tables of the proof, as Markdown."""

from collections import Counter
from collections.abc import Iterable, Sequence

from demo.proof.agreement import Agreement
from demo.proof.arms import AGAINST, CORE, NAIVE
from demo.proof.measures import ADHERENCE, IDENTITY, LEAK, MAIN, OTHERS
from demo.proof.results import ArmFigures, Contrast, Results, RunFigures
from lora_core.judging.bootstrap import Score
from lora_core.judging.look import WordMove
from lora_core.judging.metrics import two_digits

MISSED = "*"
"""Behind an arm some of whose merged models do not draw the look."""
_EARLIER = "†"
_NOTE = f"\n\n{_EARLIER} The redrawn LoRA was no better there, and the one before it is published."
_COMPARED = ("pairs", "runs", *(f"Δ {name}" for name in MAIN))


def main_table(results: Results, *, core: bool) -> str:
    """Arms at their last epoch; above the core arms what the base shows by itself, over which the others rise."""
    rows = []
    if core:
        own = [_cell(results.levels.get(name)) for name in MAIN]
        levels = [*(f"level {cell}" for cell in own[:-1]), own[-1]]
        rows.append(["no LoRA", "what the base shows by itself", "–", *levels, "–"])
    for arm in results.arms:
        if arm.core == core:
            cells = [_cell(arm.last.figures.get(name)) for name in MAIN]
            rows.append(
                [arm.name, arm.title + MISSED * arm.misses_gates, str(len(arm.runs)), *cells, gates_in_words(arm)]
            )
    return table(["arm", "what it is", "runs", *MAIN, "gate"], rows)


def short_table(results: Results, names: Sequence[str]) -> str:
    """The arms of the main question, and how each stands against naive, picture by picture."""
    rows = []
    for name in names:
        if not (arm := results.arm(name)):
            rows.append([f"`{name}`", "not run yet", *["–"] * 5])
            continue
        against = results.contrast(name, NAIVE)
        rows.append(
            [
                f"`{name}`",
                size(arm),
                *(_cell(arm.last.figures.get(figure)) for figure in (IDENTITY, LEAK, ADHERENCE)),
                *(_difference(against, figure) if against else "–" for figure in (IDENTITY, LEAK)),
            ]
        )
    return table(["arm", "pairs × seeds", IDENTITY, LEAK, ADHERENCE, "Δ identity", "Δ leak"], rows)


def size(arm: ArmFigures | None) -> str:
    """On how many pairs an arm ran, times with how many training seeds; these may differ from pair to pair."""
    if not arm:
        return "0 × 0"
    seeds = Counter(run.pair for run in arm.runs).values()
    least, most = min(seeds), max(seeds)
    return f"{len(arm.pairs)} × {least}" + f" to {most}" * (most > least)


def words_table(results: Results) -> str:
    """How far each word moves each base's pictures towards the screenshots: 1 all the way."""
    moves = [{move.word: move for move in one.report.moves} for one in results.asked]
    words = dict.fromkeys(word for found in moves for word in found)
    rows = [[f"`{word}`", *(_moved(found.get(word)) for found in moves)] for word in words]
    return table(["words", *(f"{one.base} base" for one in results.asked)], rows)


def run_table(results: Results, names: Sequence[str]) -> str:
    """Identity and leak of some arms in every run: `.64 / .98`."""
    arms = [arm for name in names if (arm := results.arm(name))]
    found = {(arm.name, run.pair, run.seed): run for arm in arms for run in arm.runs if run.figures}
    places = dict.fromkeys((pair, seed) for _, pair, seed in found)
    rows = [
        [pair, str(seed), *(_of_run(found.get((arm.name, pair, seed))) for arm in arms)]
        for pair, seed in sorted(places, key=lambda place: (place[1], list(places).index(place)))
    ]
    noted = any(run.redrawn is False for run in found.values())
    return table(["pair", "seed", *(arm.name for arm in arms)], rows) + _NOTE * noted


def coverage_table(results: Results) -> str:
    """How often intervals hold the truth in experiments that are made up."""
    rows = [
        [
            one.figure,
            f"{one.pairs} × {one.seeds}",
            *(two_digits(part) for part in (one.spread.pair, one.spread.seed, one.spread.picture, one.spread.rest)),
            *(percent_of(share) for share in (one.t, one.t_skewed, one.bootstrap)),
        ]
        for one in results.coverage
    ]
    spread = ("pair", "training seed", "picture", "rest")
    return table(["Δ of", "pairs × seeds", *spread, "holds the truth", "skewed pairs", "nested bootstrap"], rows)


def agreement_table(found: Agreement) -> str:
    """A person beside the instruments, question by question."""
    rows = [
        [one.question, f"{one.agree} of {one.of}", "–" if one.kappa is None else two_digits(one.kappa)]
        for one in found.questions
    ]
    return table(["question", "agree", "Cohen's κ"], rows)


def seen_table(found: Agreement) -> str:
    """What a person and what the instruments found in each arm."""
    rows = [
        [one.arm, str(one.pictures), *map(percent_of, (one.traits_seen, one.traits_read, one.look_seen, one.look_read))]
        for one in found.arms
    ]
    heads = ["arm", "pictures", "traits right, by eye", "by tagger", "3D look, by eye", "by tagger"]
    return table(heads, rows)


def family_table(arms: Iterable[ArmFigures], measure: str) -> str:
    """One measure family by family, at the last epoch."""
    chosen = list(arms)
    names = sorted({name for arm in chosen for name in arm.last.figures if name.startswith(f"{measure}: ")})
    rows = [[arm.name, *(_cell(arm.last.figures.get(name)) for name in names)] for arm in chosen]
    return table(["arm", *(name.removeprefix(f"{measure}: ") for name in names)], rows)


def others_table(arms: Iterable[ArmFigures]) -> str:
    """In what share of an arm's samples another character's traits are seen; empty: none was counted."""
    counted = [(arm.name, short(_as_share(score))) for arm in arms if (score := arm.last.figures.get(OTHERS))]
    return table(["arm", OTHERS], counted) if counted else ""


def _as_share(score: Score) -> Score:
    """Student's intervals know nothing of 0 and 1, which a share cannot leave."""
    return score.model_copy(update={"low": max(score.low, 0.0), "high": min(score.high, 1.0)})


def epoch_table(arms: Iterable[ArmFigures]) -> str:
    """Every epoch."""
    rows = [
        [arm.name, epoch.epoch, *(_cell(epoch.figures.get(name)) for name in MAIN)]
        for arm in arms
        for epoch in arm.epochs
    ]
    return table(["arm", "epoch", *MAIN], rows)


def contrast_table(contrasts: Sequence[Contrast], against: str) -> str:
    """Arms against one of them, picture by picture; empty: there is none."""
    rows = [[one.arm, *_compared(one)] for one in contrasts if one.against == against]
    return table(["arm", *_COMPARED], rows) if rows else ""


def further_contrasts(contrasts: Sequence[Contrast]) -> str:
    """Arms against the one they are like, where that has no table of its own; empty: there is none."""
    rows = [[one.arm, one.against, *_compared(one)] for one in contrasts if one.against not in AGAINST]
    return table(["arm", "against", *_COMPARED], rows) if rows else ""


def _compared(one: Contrast) -> list[str]:
    return [str(one.pairs), str(one.runs), *(_difference(one, name) for name in MAIN)]


def _moved(move: WordMove | None) -> str:
    return f"{short(move.share)}{' known' * move.is_known}" if move else "not asked"


def _of_run(run: RunFigures | None) -> str:
    if run is None:
        return "–"
    kept = f" {_EARLIER}" if run.redrawn is False else ""
    return f"{two_digits(run.figures[IDENTITY])} / {two_digits(run.figures[LEAK])}{kept}"


def gate_table(results: Results) -> str:
    """What every merged model draws, and the style LoRA it was made from."""
    rows = [
        [
            row.pair,
            str(row.seed),
            ", ".join(row.arms) if len(row.arms) < 3 else f"{row.arms[0]} and {len(row.arms) - 1} more",
            percent_of(row.merged.look),
            "passed" if row.passed else "not passed",
            *(
                " · ".join(percent_of(share) for share in (gate.character, gate.white, gate.together))
                for gate in (row.merged, row.style)
            ),
            percent_of(row.style.look),
        ]
        for row in results.gates
    ]
    parts = "character · white · both and look"
    heads = ["pair", "seed", "arms", "merged: look", "gate", f"merged: {parts}", f"style LoRA: {parts}", "its look"]
    return table(heads, rows)


def gates_in_words(arm: ArmFigures) -> str:
    """How many of an arm's runs stand on a style stage that did its work."""
    if not arm.merges:
        return "–"
    return f"{arm.gates_passed} of {len(arm.runs)} passed" if arm.misses_gates else "passed"


def whole(results: Results) -> str:
    """All tables under headings: `table.md`."""
    core = [arm for arm in results.arms if arm.core]
    others = [arm for arm in results.arms if not arm.core]
    parts = [("Core arms, last epoch", main_table(results, core=True))]
    if others:
        parts.append(("Ablations and variants, last epoch", main_table(results, core=False)))
    parts += [
        ("Every run of the core arms: identity / leak", run_table(results, CORE)),
        ("Gates", gate_table(results)),
        *((f"Against {against}", contrast_table(results.contrasts, against)) for against in AGAINST),
        ("Against the arm that it is like", further_contrasts(results.contrasts)),
        ("Identity by family", family_table(results.arms, IDENTITY)),
        ("Adherence by family", family_table(results.arms, ADHERENCE)),
        ("Every epoch", epoch_table([*core, *others])),
    ]
    failed = [f"- {one.run}: {one.error}" for one in results.failed]
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in parts if body)
    return text + ("\n\n## Failed\n\n" + "\n".join(failed) if failed else "") + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def short(figure: Score) -> str:
    """Mean and interval: 0.46 (0.40 to 0.52)."""
    return f"{two_digits(figure.mean)} ({two_digits(figure.low)} to {two_digits(figure.high)})"


def percent_of(share: float) -> str:
    """With half percents, for a gate that was missed by one must not look passed: 94.5 %, 97 %."""
    return f"{share * 100:.1f}".removesuffix(".0") + " %"


def _difference(one: Contrast, name: str) -> str:
    """Bold where there is a difference among all arms that are compared, and its interval as shown says so."""
    figure = one.differences.get(name)
    apart = figure and one.differs(name) and (round(figure.low, 2) > 0 or round(figure.high, 2) < 0)
    return f"**{_cell(figure)}**" if apart else _cell(figure)


def _cell(figure: Score | None) -> str:
    return short(figure) if figure else "–"
