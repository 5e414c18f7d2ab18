"""Ask a person in the middle of a run: at the terminal if there is one, else in Prefect's UI."""

import sys
from dataclasses import dataclass
from html import escape
from itertools import count
from pathlib import Path
from typing import Annotated, Literal, TypeVar, cast

from PIL import Image
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput, delete_flow_run_input, read_flow_run_input
from prefect.settings import PREFECT_API_URL
from pydantic import BeforeValidator, Field, ValidationError

from lora_core.errors import GateError
from lora_core.images.preview import data_uri, small_jpeg
from tasks.runtime import console
from tasks.terminal import styled

_LONGEST_PX = 900
_QUALITY = 75


def _renamed(decision: object) -> object:
    """Read an answer that an earlier version stored, or that waits in a form it showed."""
    return {"go on": "continue", "stop": "abort"}.get(decision, decision) if isinstance(decision, str) else decision


class Answer(RunInput):
    """What becomes of the run."""

    decision: Annotated[Literal["continue", "abort"], BeforeValidator(_renamed)] = Field(
        default="continue", title="Decision", json_schema_extra={"position": 0}
    )


class EpochAnswer(Answer):
    """What becomes of the run, and with which epoch."""

    epoch: int = Field(default=0, ge=0, title="Epoch", description="0: as proposed.", json_schema_extra={"position": 1})
    weight: float = Field(
        default=0, ge=0, le=4, title="LoRA weight", description="0: as proposed.", json_schema_extra={"position": 2}
    )


class RedrawAnswer(Answer):
    """What becomes of the run, and without which redrawn pictures."""

    leave_out: str = Field(
        default="",
        title="Leave out",
        description="Numbers of pictures that are not to be trained on, such as 12 40; empty: none. The next best take "
        "their place.",
        pattern=r"^[\d\s,]*$",
        json_schema_extra={"position": 1},
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The pictures that are named, each once, in order."""
        numbers = sorted({int(number) for number in self.leave_out.replace(",", " ").split()})
        return tuple(f"redrawn-{number:03d}" for number in numbers)


Form = TypeVar("Form", bound=Answer)


@dataclass(frozen=True)
class Question:
    """What a person is asked.

    Attributes:
        name: of the gate; once in a run.
        lines: figures, bounds, what usually helps.
        picture: a grid of samples, if there is one.
        wait_minutes: how long the run stays open.
    """

    name: str
    lines: tuple[str, ...]
    picture: Path | None
    wait_minutes: int

    @property
    def markdown(self) -> str:
        """Figures and thumbnails, well below a megabyte."""
        listed = "\n".join(f"- {escape(line)}" for line in self.lines)
        shown = f'\n\n<img width="{_LONGEST_PX}" src="{_thumbnail(self.picture)}">' if self.picture else ""
        return f"**{self.name}**: Continue?\n\n{listed}{shown}"


def ask(question: Question, form: type[Form]) -> Form:
    """The answer of a person.

    With a terminal it is asked for there. A run of a deployment is suspended: its process ends, and Resume in
    Prefect's UI shows the form. Any other run with a server is paused: its process waits for the form.

    Raises:
        GateError: there is neither a terminal nor a server, or nobody answered in time.
    """
    if sys.stdin.isatty():
        return _in_terminal(question, form)
    if not PREFECT_API_URL.value():
        raise GateError(
            f"{question.name}: [gates] says 'ask', but there is neither a terminal nor a Prefect server to ask at; use "
            "'auto' or 'off', or set PREFECT_API_URL"
        )
    # A subclass, not `with_initial_data`: that loses the order of the fields.
    described = cast(type[Form], type(form.__name__, (form,), {"__doc__": form.__doc__}))
    described._description = question.markdown
    wait = question.wait_minutes * 60
    key = "gate-" + question.name.lower().replace(" ", "-")  # part of an address
    if (run := _suspendable()) is not None:
        return _suspended(run, described, wait, key)
    console.print(f"? {question.name}: waiting for an answer in Prefect's UI (Resume)", highlight=False)
    try:
        return pause_flow_run(wait_for_input=described, timeout=wait, key=key)
    except FlowPauseTimeout:
        raise GateError(
            f"{question.name}: nobody answered within {question.wait_minutes} minutes ([gates] wait_minutes); the same "
            "command asks again, and nothing is computed twice"
        ) from None


def _suspendable() -> FlowRun | None:
    """The run, if it can be suspended: Prefect starts a run anew only from its deployment, and never a sub-flow."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run if run is not None and run.deployment_id is not None and run.parent_task_run_id is None else None


def _suspended(run: FlowRun, form: type[Form], wait_seconds: int, key: str) -> Form:
    """The answer that the run was resumed with; without one the run is suspended, and its process ends here.

    Prefect suspends a run once for each key. A run that is retried because nobody answered in time, or because the
    answer ended it, has to ask again: under the next number. An answer that was taken is deleted for that.
    """
    fired = run.empirical_policy.pause_keys or set()
    once = next(name for number in count(1) if (name := f"{key}-{number}") not in fired or _is_answered(name))
    answer = suspend_flow_run(wait_for_input=form, timeout=wait_seconds, key=once)
    delete_flow_run_input(_response_key(once))
    return answer


def _is_answered(key: str) -> bool:
    return read_flow_run_input(_response_key(key)) is not None


def _response_key(key: str) -> str:
    """Where Prefect keeps what was filled in (`prefect.input.run_input.keyset_from_paused_state`)."""
    return f"suspended-{key}-response"


def _in_terminal(question: Question, form: type[Form]) -> Form:
    console.print(styled("\n", (question.name, "bold"), ": Continue?"))
    for line in question.lines:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if question.picture:
        console.print(f"  pictures: {question.picture}", highlight=False, markup=False, soft_wrap=True)
    while True:
        given = {}
        for name, field in form.model_fields.items():
            choices = " (continue / abort)" if name == "decision" else f" ({field.description})"
            ask = f"{field.title}{choices} [{field.default}]: "
            given[name] = console.input(ask, markup=False).strip() or field.default
            if given["decision"] == "abort":
                break
        try:
            return form.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            console.print(f"{first['loc'][0]}: {first['msg']}", highlight=False, markup=False)


def _thumbnail(picture: Path) -> str:
    with Image.open(picture) as opened:
        return data_uri(small_jpeg(opened, (_LONGEST_PX, _LONGEST_PX * 4), _QUALITY))
