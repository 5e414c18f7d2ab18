"""How a run ends that was asked to: in the state that was asked for, with its work saved.

A signal comes to the process. What a person does in Prefect's UI comes to the server alone: Pause, Cancel, a run that
is deleted or started anew elsewhere. A thread looks there every few seconds: the state shown is the state there is.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

import httpx
from prefect import Flow, flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import Abort, CancelledRun, ObjectNotFound, Pause
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL
from prefect.states import Cancelled, Crashed

from flows.errors import report_user_errors
from flows.private_server import start_private_server, trouble
from flows.run_names import RUN_NAMES
from lora_core.progress import Stopped
from tasks import stopping
from tasks.runtime import say

P = ParamSpec("P")
R = TypeVar("R")

_POLL_SECONDS = 3.0
# Everything is saved when a run reports its end. If the server is gone with the worker, nobody is there to be told.
_REPORTS_SECONDS = 30.0


def end_as_asked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a flow end in the state that a person or a machine asked for while it ran.

    Paused stays Suspended until Resume. Cancelling becomes Cancelled. A run whose worker is told to end becomes
    Crashed, and Retry resumes. A run that was started anew elsewhere, or deleted, ends without a word.
    """

    @wraps(function)
    def ended(*args: P.args, **kwargs: P.kwargs) -> R:
        context = FlowRunContext.get()
        run = context.flow_run if context else None
        if run is None or run.id in _heeding:  # a flow's function inside another's
            return function(*args, **kwargs)
        try:
            with _once(run), stopping.heeding_signals(), _watching(run) as watch:
                try:
                    return function(*args, **kwargs)
                except Stopped as stopped:
                    if not stopping.asked():
                        raise
                    return cast(R, _concluded(run, watch, stopped))  # Prefect's engine takes a state, and raises it
        except Pause:
            stopping.ignore_signals()
            raise

    return ended


def form(name: str) -> Callable[[Callable[P, R]], Flow[P, R | State[Any]]]:
    """Make a flow that people start by a form: its runs bear what they put in, and end as they are asked to."""

    def decorate(function: Callable[P, R]) -> Flow[P, R | State[Any]]:
        begun = flow(name=name, flow_run_name=RUN_NAMES[name], persist_result=False, validate_parameters=False)
        return begun(report_user_errors(end_as_asked(function)))

    return decorate


@contextlib.contextmanager
def run_by_command() -> Iterator[None]:
    """Give the flow that is called in the block a server, and raise its end as a command reports it.

    Raises:
        Stopped: the run was paused, cancelled or deleted at a server that others reach.
        StoreError: the server's disk is full.
        ServerError: the server failed.
    """
    start_private_server()
    logging.raiseExceptions = False  # that Prefect's server keeps no log lines is reported once, in one line
    try:
        yield
    except (Abort, CancelledRun, Pause) as end:
        raise Stopped from end
    except (httpx.HTTPStatusError, httpx.TransportError) as error:
        raise trouble(" ".join(str(error).split())) from error


_heeding: set[UUID] = set()


@contextlib.contextmanager
def _once(run: FlowRun) -> Iterator[None]:
    _heeding.add(run.id)
    try:
        yield
    finally:
        _heeding.discard(run.id)


def _concluded(run: FlowRun, watch: "_RunWatch | None", stopped: Stopped) -> State[Any]:
    """The state to end in, as the server has it now, when everything is saved.

    Raises:
        Pause: the run is suspended.
        Abort: it is no longer this process' run.
        Stopped: it was started by a command, which says so itself.
    """
    stopping.wait_for_work()
    by_command = run.deployment_id is None
    if not by_command:
        say(f"{stopping.asked()}.{stopping.kept()}", mark="!")
        if stopping.signal_heard():
            _end_without_a_server()
    now: FlowRun | None = run
    if watch:
        with contextlib.suppress(httpx.HTTPError):  # nobody answers: the run is what it was
            now = watch.now()
    if now is None or (watch and watch.lost):
        raise Abort("This process is no longer the run's.")
    state = now.state
    if state is not None and state.type == StateType.CANCELLING:
        return Cancelled(message=f"Cancelled.{stopping.kept()} Retry resumes.")
    if state is not None and _is_suspended(state):
        raise Pause(state=state)
    if by_command:
        raise stopped
    if state is None or state.type != StateType.RUNNING:
        raise Abort(f"The server calls the run {state.name if state else 'nothing'}.")
    return Crashed(message=f"The worker ended: {stopping.asked()}.{stopping.kept()} Retry resumes.")


def _end_without_a_server() -> None:
    end = threading.Timer(_REPORTS_SECONDS, os._exit, (128 + stopping.signal_heard(),))
    end.daemon = True
    end.start()


@contextlib.contextmanager
def _watching(run: FlowRun) -> Iterator["_RunWatch | None"]:
    """Ask this process' work to end when the server no longer calls the run Running.

    A server of the command's own is reached by nobody else, and needs no watching.
    """
    if not PREFECT_API_URL.value():
        yield None
        return
    watch = _RunWatch(run.id)
    threading.Thread(target=watch.poll, daemon=True).start()
    try:
        yield watch
    finally:
        watch.over.set()


class _RunWatch:
    """Polls the server for a run's state until the run is over.

    Attributes:
        over: the run has ended, so that polling stops.
        lost: the run is no longer this process' run.
    """

    def __init__(self, run_id: UUID) -> None:
        self.over, self.lost = threading.Event(), False
        self._run_id, self._count = run_id, 0
        self._api, self._password = str(PREFECT_API_URL.value()), PREFECT_API_AUTH_STRING.value()

    def poll(self) -> None:
        """Ask the server every few seconds; ask the run to end when it is time."""
        while not self.over.wait(_POLL_SECONDS) and not stopping.asked():
            with contextlib.suppress(Exception):  # the server is away for a while: the run continues
                if why := self.happened(self.now()):
                    stopping.ask(why)

    def now(self) -> FlowRun | None:
        """The run as the server has it; None: it has none. By a client of its own, for that of the flow is busy."""
        with SyncPrefectClient(self._api, auth_string=self._password) as client, contextlib.suppress(ObjectNotFound):
            return client.read_flow_run(self._run_id)
        return None

    def happened(self, run: FlowRun | None) -> str:
        """What became of the run at the server; empty: it is still Running, and here.

        A run that waits for an answer with its process (`asking.ask`) is Paused, but not suspended.
        """
        state = run.state if run else None
        self._count = self._count or (run.run_count if run else 0)
        self.lost = run is None or state is None or run.run_count != self._count
        if run is None or state is None:
            return "the run was deleted"
        if self.lost:
            return "the run was started anew elsewhere"
        if _is_suspended(state):
            return "paused in Prefect"
        if state.type in (StateType.RUNNING, StateType.PAUSED):
            return ""
        return f"{'cancelled' if state.type == StateType.CANCELLING else state.name or state.type.value} in Prefect"


def _is_suspended(state: State[Any]) -> bool:
    return state.type == StateType.PAUSED and bool(state.state_details.pause_reschedule)
