"""Gates: what goes on, what ends a run, what a person is asked; without any server."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from prefect.exceptions import FlowPauseTimeout
from prefect.settings import PREFECT_API_URL, temporary_settings

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from flows import asking
from flows.asking import Answer, EpochAnswer, Question, ask
from flows.gate import pass_gate
from lora_core.errors import GateError
from lora_core.judging.gates import GateResult, with_gates
from lora_core.recipe import Gates
from lora_core.refs import ReportRef
from tasks.runtime import RunContext

QUESTION = Question("epoch", ("leak 0.30, at most 0.25",), None, 5)


@pytest.fixture
def at(tmp_path: Path) -> RunContext:
    return RunContext(store=str(tmp_path))


def check(at: RunContext, *, passed: bool) -> ReportRef:
    gate = GateResult(
        name="merged", passed=passed, figure=0.5, bound=0.75, at_least=True, meaning="share", advice="merge more"
    )
    return with_gates(at.open_store(), None, [gate])


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Lines that a person types; what is left over was not asked for."""
    lines: list[str] = []
    stdin = StringIO()
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr(asking.console, "input", lambda prompt, markup: lines.pop(0))
    yield lines
    assert lines == []


def test_auto_ends_the_run_with_figure_bound_and_what_helps(at: RunContext) -> None:
    pass_gate("auto", "merged", check(at, passed=True), Gates(), at)
    with pytest.raises(GateError, match=r"merged: share 0\.500, at least 0\.75; merge more"):
        pass_gate("auto", "merged", check(at, passed=False), Gates(), at)


def test_off_only_tells(at: RunContext, capsys: pytest.CaptureFixture[str]) -> None:
    pass_gate("off", "merged", check(at, passed=False), Gates(), at)
    assert "! merged: share 0.500, at least 0.75" in capsys.readouterr().err


def test_a_question_that_nobody_answers_ends_the_run_with_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(**asked: object) -> None:
        assert asked["timeout"] == QUESTION.wait_minutes * 60
        raise FlowPauseTimeout("Flow run was paused and never resumed.")

    monkeypatch.setattr(asking, "pause_flow_run", nobody)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(GateError, match="epoch: nobody answered within 5 minutes"),
    ):
        ask(QUESTION, EpochAnswer)


def test_an_answer_is_remembered_for_the_very_same_figures(at: RunContext, terminal: list[str]) -> None:
    terminal += ["continue"]
    pass_gate("ask", "merged", check(at, passed=False), Gates(), at)
    pass_gate("ask", "merged", check(at, passed=False), Gates(), at)
    terminal += ["continue"]
    pass_gate("ask", "merged", check(at, passed=True), Gates(), at)


def test_stop_ends_the_run_and_is_asked_again(at: RunContext, terminal: list[str]) -> None:
    terminal += ["abort", "abort"]
    for _ in range(2):
        with pytest.raises(GateError, match="stopped by hand"):
            pass_gate("ask", "merged", check(at, passed=True), Gates(), at)


def test_a_terminal_is_asked_for_every_field_and_again_after_nonsense(terminal: list[str]) -> None:
    terminal += ["continue", "seven", "", "", "7", "0.8"]
    assert ask(QUESTION, EpochAnswer).model_dump() == {"decision": "continue", "epoch": 7, "weight": 0.8}


def test_a_stop_at_the_terminal_asks_for_nothing_more(terminal: list[str]) -> None:
    terminal += ["abort"]
    assert ask(QUESTION, EpochAnswer).decision == "abort"


def test_with_neither_terminal_nor_server_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO())
    monkeypatch.setattr(asking.PREFECT_API_URL, "value", lambda: None)
    with pytest.raises(GateError, match=r"neither a terminal nor a Prefect server.*'auto' or 'off'"):
        ask(QUESTION, Answer)


def test_figures_in_a_question_are_escaped() -> None:
    assert "&lt;b&gt;" in Question("epoch", ("<b>",), None, 5).markdown


@pytest.mark.parametrize(("stored", "read"), [("go on", "continue"), ("stop", "abort")])
def test_an_answer_that_an_earlier_version_remembered_still_counts(stored: str, read: str) -> None:
    assert EpochAnswer.model_validate({"decision": stored, "epoch": 3}).decision == read
