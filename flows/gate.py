"""Between two stages: go on, ask a person, or end the run. What is finished stays cached either way."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from flows.asking import Answer, EpochAnswer, Question, RedrawAnswer, ask
from lora_core.errors import GateError
from lora_core.judging.gates import GateResult, read_gates
from lora_core.recipe import Gates, Mode, Recipe
from lora_core.refs import ReportRef
from lora_core.sampling.samples import GRID_FILE
from lora_core.store.digests import canonical_json, digest_of
from tasks.judge import overrule
from tasks.publish import hold_back
from tasks.redraw import refuse_unknown
from tasks.runtime import RunContext, say
from tasks.walking import idle_walk

if TYPE_CHECKING:
    from lora_core.judging.verdict import JudgedEpoch, Verdict

A = TypeVar("A", bound=Answer)


def pass_gate(mode: Mode, name: str, check: ReportRef, gates: Gates, at: RunContext) -> None:
    """Let the run go on past a check, as its mode says.

    Raises:
        GateError: a bound is missed, or a person chose abort.
    """
    if idle_walk():
        return
    store = at.open_store()
    results = read_gates(store, check)
    for result in results:
        say(result.line, mark="·" if result.passed else "!")
    if mode == "auto":
        _require_all(results)
    if mode == "ask" and not answered(name, check, at, Answer):
        picture = store.tree(check.sha256).get(GRID_FILE)
        answer = ask(Question(name, _story(results), picture, gates.wait_minutes), Answer)
        _abort_if_asked(answer, name)
        remember(name, check, answer, at)


def pass_redraw_gate(gates: Gates, select: Callable[[tuple[str, ...]], ReportRef], at: RunContext) -> ReportRef:
    """The selection that the run goes on with: without the pictures that a person takes out.

    Args:
        gates: says whether a person is asked.
        select: the selection without pictures of these names.
        at: where it runs.

    Raises:
        GateError: too few pictures pass, or a person chose abort or named a picture that is not there.
    """
    selected = select(())
    if selected.is_pending:
        return selected
    answer = answered("redraw", selected, at, RedrawAnswer) if gates.redraw == "ask" else None
    if idle_walk():
        return select(answer.names) if answer and answer.names else selected
    results = read_gates(at.open_store(), selected)
    for result in results:
        say(result.line, mark="·" if result.passed else "!")
    if gates.redraw == "auto":
        _require_all(results)
    if gates.redraw != "ask":
        return selected
    if answer is None:
        picture = at.open_store().tree(selected.sha256)[GRID_FILE]
        answer = ask(Question("redraw", _story(results), picture, gates.wait_minutes), RedrawAnswer)
        _abort_if_asked(answer, "redraw")
        refuse_unknown(selected, answer.names, at)
        remember("redraw", selected, answer, at)
    return select(answer.names) if answer.names else selected


def pass_epoch_gate(recipe: Recipe, samples: ReportRef, verdict: ReportRef, at: RunContext) -> ReportRef:
    """The verdict that the run goes on with: as the rule has it, or as a person says.

    Raises:
        GateError: no epoch is within bounds, or a person chose abort.
    """
    from lora_core.judging.verdict import read_verdict

    if idle_walk():
        return verdict
    mode, found = recipe.gates.epoch, read_verdict(at.open_store(), verdict)
    if mode == "auto" and not found.choice.passed and not found.choice.by_hand:
        raise GateError(
            f"epochs: {found.choice.reason} The bounds are in [judging]; [judging] epoch takes one by hand, "
            "[gates] epoch = 'off' goes on all the same"
        )
    if mode != "ask":
        return verdict
    known = answered("epoch", verdict, at, EpochAnswer)
    given = known or _ask_for_epoch(recipe, samples, found, at)
    # An epoch that was never drawn is refused here, before the answer is remembered: the next run asks again.
    taken = _taken(verdict, given, recipe, at)
    if not known:
        remember("epoch", verdict, given, at)
    return taken


def pass_successor_gate(recipe: Recipe, check: ReportRef, files: ReportRef, at: RunContext) -> None:
    """Let a further version be published, or leave its report beside the last one.

    Raises:
        GateError: it is worse than the last one, or a person chose abort.
    """
    try:
        pass_gate(recipe.gates.successor, "further version", check, recipe.gates, at)
    except GateError:
        hold_back(recipe, files, at)
        raise


def _ask_for_epoch(recipe: Recipe, samples: ReportRef, found: "Verdict", at: RunContext) -> EpochAnswer:
    """What a person says of the choice.

    Raises:
        GateError: a person chose abort.
    """
    table = map(_line, found.rows)
    picture = at.open_store().tree(samples.sha256)[GRID_FILE]
    question = Question("epoch", (found.choice.reason, *table), picture, recipe.gates.wait_minutes)
    given = ask(question, EpochAnswer)
    _abort_if_asked(given, "epoch")
    return given


def _line(row: "JudgedEpoch") -> str:
    from lora_core.judging.metrics import headlines

    (one, ruling), metrics = row, (metric for metric in headlines() if row.metrics.score(metric))
    scores = (f"{metric.label} {metric.text(one.score(metric))}" for metric in metrics)
    return f"epoch {one.epoch} at {one.weight:g}: {'; '.join((*scores, ruling.reason))}"


def _taken(verdict: ReportRef, given: EpochAnswer, recipe: Recipe, at: RunContext) -> ReportRef:
    """The verdict with the choice of a person, if it made one.

    Raises:
        GateError: it names what was not drawn.
    """
    if not (given.epoch or given.weight):
        return verdict
    by_hand = recipe.judging.model_copy(update={"epoch": given.epoch, "weight": given.weight})
    return overrule(verdict, by_hand.without_place, at)


def _require_all(results: Sequence[GateResult]) -> None:
    missed = [result.story for result in results if not result.passed]
    if missed:
        raise GateError(". ".join(missed))


def _story(results: Sequence[GateResult]) -> tuple[str, ...]:
    return tuple(line for result in results for line in (result.story, *result.details))


def _abort_if_asked(answer: Answer, name: str) -> None:
    if answer.decision == "abort":
        raise GateError(f"{name}: stopped by hand; what is finished stays cached, the same command asks again")


def answered(name: str, seen: ReportRef, at: RunContext, kind: type[A]) -> A | None:
    """What a person said of the very same scores and pictures."""
    return at.open_store().record(_key(name, seen), kind)


def remember(name: str, seen: ReportRef, answer: Answer, at: RunContext) -> None:
    """Keep what was answered of this very check, so that no later run asks again."""
    at.open_store().set_record(_key(name, seen), answer.model_dump(mode="json"))


def _key(name: str, seen: ReportRef) -> str:
    return digest_of(canonical_json(["answer", name, seen.sha256]))
