"""The tables of the proof, as Markdown."""

from collections.abc import Iterable, Sequence

from demo.proof.arms import NAIVE, NOTE
from demo.proof.measures import IDENTITY, LEAK, OBEDIENCE, PROBE
from demo.proof.results import ArmFigures, Contrast, Results
from lora_core.judging.bootstrap import Score
from lora_core.judging.metrics import two_digits

MISSED = "*"
"""Behind an arm whose style stage did not do what the note demands."""
_MAIN = (IDENTITY, LEAK, PROBE, OBEDIENCE)
_COMPARED = ("runs", *(f"Δ {name}" for name in _MAIN), "leak ratio", "leak ratio (probe)")


def main_table(results: Results, *, core: bool) -> str:
    """Arms at their last epoch; above the core arms what the base shows by itself, over which the others rise."""
    rows = []
    if core:
        own = [_cell(results.levels.get(name)) for name in _MAIN]
        levels = [*(f"level {cell}" for cell in own[:-1]), own[-1]]
        rows.append(["no LoRA", "what the base shows by itself", *levels, "–"])
    for arm in results.arms:
        if arm.core == core:
            cells = [_cell(arm.last.figures.get(name)) for name in _MAIN]
            rows.append([arm.name, arm.title + MISSED * arm.misses_gates, *cells, gates_in_words(arm)])
        if arm.core == core and (passed := arm.passed):
            cells = [_cell(passed.get(name)) for name in _MAIN]
            runs = "run" if arm.gates_passed == 1 else f"{arm.gates_passed} runs"
            rows.append([arm.name, f"the same, only its {runs} that passed the gates", *cells, "passed"])
    return table(["arm", "what it is", *_MAIN, "gates"], rows)


def family_table(arms: Iterable[ArmFigures], measure: str) -> str:
    """One measure family by family, at the last epoch."""
    chosen = list(arms)
    names = sorted({name for arm in chosen for name in arm.last.figures if name.startswith(f"{measure}: ")})
    rows = [[arm.name, *(_cell(arm.last.figures.get(name)) for name in names)] for arm in chosen]
    return table(["arm", *(name.removeprefix(f"{measure}: ") for name in names)], rows)


def epoch_table(arms: Iterable[ArmFigures]) -> str:
    """Every epoch."""
    rows = [
        [arm.name, epoch.epoch, *(_cell(epoch.figures.get(name)) for name in _MAIN)]
        for arm in arms
        for epoch in arm.epochs
    ]
    return table(["arm", "epoch", *_MAIN], rows)


def contrast_table(contrasts: Sequence[Contrast], against: str) -> str:
    """Arms against one of them, picture by picture."""
    rows = [[one.arm, *_compared(one)] for one in contrasts if one.against == against]
    return table(["arm", *_COMPARED], rows)


def further_contrasts(contrasts: Sequence[Contrast]) -> str:
    """Arms against the one they are like, where that is neither naive nor the note's; empty: there is none."""
    rows = [[one.arm, one.against, *_compared(one)] for one in contrasts if one.against not in (NAIVE, NOTE)]
    return table(["arm", "against", *_COMPARED], rows) if rows else ""


def better(contrasts: Sequence[Contrast], against: str) -> tuple[list[Contrast], list[Contrast]]:
    """Arms that beat one of them by the whole interval: in identity and leak; in one, and no worse in the other."""
    both, one = [], []
    for each in contrasts:
        if each.against == against and IDENTITY in each.differences and LEAK in each.differences:
            identity, leak = each.differences[IDENTITY], each.differences[LEAK]
            if identity.low > 0 and leak.high < 0:
                both.append(each)
            elif (identity.low > 0 and leak.low <= 0) or (leak.high < 0 and identity.high >= 0):
                one.append(each)
    return both, one


def _compared(one: Contrast) -> list[str]:
    differences = [_difference(one.differences.get(name)) for name in _MAIN]
    return [str(one.runs), *differences, _cell(one.leak_ratio), _cell(one.probe_ratio)]


def gate_table(results: Results) -> str:
    """The note's two conditions for every merged model."""
    rows = [
        [
            row.pair,
            str(row.seed),
            ", ".join(row.arms) if len(row.arms) < 3 else f"{row.arms[0]} and {len(row.arms) - 1} more",
            *(
                text
                for gate in (row.style, row.merged)
                for text in (
                    short(gate.share, percent=True),
                    " · ".join(f"{share * 100:.0f} %" for share in (gate.character, gate.white, gate.solid)),
                )
            ),
            "passed" if row.passed else "not passed",
        ]
        for row in results.gates
    ]
    parts = "character · white · 3D look"
    heads = ["pair", "seed", "arms", "style LoRA", parts, "merged model", parts, "gates"]
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
        ("Gates", gate_table(results)),
        (f"Against {NAIVE}", contrast_table(results.contrasts, NAIVE)),
        (f"Against {NOTE}", contrast_table(results.contrasts, NOTE)),
        ("Against the arm that it is like", further_contrasts(results.contrasts)),
        ("Identity by family", family_table(results.arms, IDENTITY)),
        ("Obedience by family", family_table(results.arms, OBEDIENCE)),
        ("Every epoch", epoch_table([*core, *others])),
    ]
    failed = [f"- {one.run}: {one.error}" for one in results.failed]
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in parts if body)
    return text + ("\n\n## Failed\n\n" + "\n".join(failed) if failed else "") + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def short(figure: Score, *, percent: bool = False) -> str:
    """Mean and interval: 0.46 (0.40 to 0.52), or 46.5 % (40 to 52)."""
    if percent:
        return f"{percent_of(figure.mean)} ({figure.low * 100:.0f} to {figure.high * 100:.0f})"
    return f"{two_digits(figure.mean)} ({two_digits(figure.low)} to {two_digits(figure.high)})"


def percent_of(share: float) -> str:
    """With half percents, for a gate that was missed by one must not look passed: 94.5 %, 97 %."""
    return f"{share * 100:.1f}".removesuffix(".0") + " %"


def _difference(figure: Score | None) -> str:
    """Bold where the whole interval, as it is shown, says that there is one."""
    apart = figure and (round(figure.low, 2) > 0 or round(figure.high, 2) < 0)
    return f"**{_cell(figure)}**" if apart else _cell(figure)


def _cell(figure: Score | None) -> str:
    return short(figure) if figure else "–"
