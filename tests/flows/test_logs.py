"""A mistake is one line in a run's Logs, and a failure of ours keeps its traceback, once."""

import io
import logging
from typing import Any

import pytest
from prefect.exceptions import FailedRun

from flows.errors import OneLine
from lora_core.errors import ContentRuleError, GateError, HeadcanonError, RecipeError, TrainingError


class Logs:
    """What Prefect's handlers would get of a run."""

    def __init__(self) -> None:
        self._text = io.StringIO()
        handler = logging.StreamHandler(self._text)
        self.logger = logging.Logger("prefect.flow_runs")
        self.logger.addFilter(OneLine())
        self.logger.addHandler(handler)

    @property
    def lines(self) -> list[str]:
        return self._text.getvalue().splitlines()

    def failed(self, error: Exception) -> None:
        """As Prefect tells of it: in the step, in the run, and of how both ended."""
        try:
            raise error
        except Exception as caught:
            self.logger.error("Task run failed with exception: %r", caught, exc_info=True)
            self.logger.error(f"Finished in state Failed('Task run encountered an exception: {error}')")
            self.logger.exception("Encountered exception during execution: %r", caught)
            self.logger.info(f"Finished in state Failed({str(error)!r})")


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.mark.parametrize(
    "error",
    [RecipeError("100 % wrong:\n  say %s"), ContentRuleError("refused"), GateError("missed"), TrainingError("NaN")],
)  # fmt: skip
def test_a_mistake_is_told_once_and_in_one_line(logs: Logs, error: HeadcanonError) -> None:
    logs.failed(error)
    assert logs.lines == [" ".join(str(error).split())]


def test_a_failure_of_ours_keeps_its_traceback_once_under_a_line_that_says_what_it_is(logs: Logs) -> None:
    logs.failed(ZeroDivisionError("sum of\nnothing"))
    assert logs.lines[0] == "ZeroDivisionError: sum of nothing"
    assert sum(line.startswith("Traceback") for line in logs.lines) == 1
    assert any("in failed" in line for line in logs.lines)


def test_a_state_that_prefect_raises_at_the_end_was_told_before(logs: Logs) -> None:
    logs.failed(FailedRun("no such folder"))
    assert logs.lines == []


def test_lines_about_the_work_stay_and_prefect_s_about_itself_go(logs: Logs) -> None:
    arguments: tuple[Any, ...] = ("tag", 3)
    logs.logger.info("Beginning flow run 'momo' for flow 'train-character'")
    logs.logger.info("%s: %d images", *arguments)
    logs.logger.info("Running hook 'say_when_cached' in response to entering state 'Cached'")
    logs.logger.info("Hook 'say_when_cached' finished running successfully")
    logs.logger.info("Finished in state Completed()")
    assert logs.lines == ["tag: 3 images"]
