"""`headcanon up` as a user starts it, and what the UI would ask its server."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from small_project import Project

PATIENCE_SECONDS = 300.0


def wait_for(what: Callable[[], Any], meant: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """What a look comes to as soon as it is true of something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds:.0f} s for {meant}")


def free_port() -> int:
    """A port that nobody listens at, below those that the system gives to whoever asks for any."""
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


class Receiver:
    """A webhook's other end: keeps what it was sent."""

    def __init__(self) -> None:
        received: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Keep quiet."""

        self.received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class Up:
    """A running `headcanon up`."""

    def __init__(self, project: Project, *options: str, password: str = "") -> None:
        self.project, self.webhook, self._options, self._password = project, Receiver(), options, password
        self._csrf: dict[str, str] = {}
        self.port = free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.said = project.folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it says that it is there."""
        before = self.said.read_text().count("Prefect's UI") if self.said.exists() else 0
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                self.project.command("up", ".", "--port", str(self.port), *self._options),
                cwd=self.project.folder,
                env={**self.project.environment(), "HEADCANON_NOTIFY": self.webhook.url, **self.secrets},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        wait_for(lambda: self._there(before), "`headcanon up` to be there")

    def _there(self, before: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said.read_text()
        return self.said.read_text().count("Prefect's UI") > before

    def stop(self) -> int:
        """Ctrl-C; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def told(self, event: str, about: str) -> dict[str, Any]:
        """Wait until the webhook was told of an event; returns what it got."""
        found: dict[str, Any] = wait_for(
            lambda: next(
                (one for one in self.webhook.received if (one["event"], one["about"]) == (event, about)), None
            ),
            f"the webhook to hear of {event}",
        )
        return found

    @property
    def secrets(self) -> dict[str, str]:
        """What sets the password of the server, if it has one."""
        return {"PREFECT_SERVER_API_AUTH_STRING": self._password} if self._password else {}

    @contextlib.contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Asks as Prefect's own clients do: with the password, and with a token against forgery."""
        user, _, word = self._password.partition(":")
        with httpx.Client(base_url=self.api, timeout=60, auth=(user, word) if word else None) as client:
            if not self._csrf:
                token = client.get("csrf-token", params={"client": "tests"}).raise_for_status().json()["token"]
                self._csrf = {"Prefect-Csrf-Client": "tests", "Prefect-Csrf-Token": token}
            client.headers.update(self._csrf)
            yield client

    def ask(self, method: str, path: str, /, **json: Any) -> Any:
        """Ask the server; one on SQLite that is busy says so, and Prefect's own client asks again too."""
        with self.client() as client:
            answer = client.request(method, path, json=json if method != "GET" else None)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            time.sleep(2)
            return self.ask(method, path, **json)
        return answer.raise_for_status().json() if answer.content else None

    def post(self, path: str, /, **json: Any) -> Any:
        """Ask with POST, as most of Prefect's API wants it."""
        return self.ask("POST", path, **json)

    def run(self, run_id: str) -> dict[str, Any]:
        """A run as the server knows it."""
        found: dict[str, Any] = self.ask("GET", f"flow_runs/{run_id}")
        return found

    def submit(self, deployment: str, **parameters: Any) -> str:
        """As the form does; returns the run's id."""
        found = self.ask("GET", f"deployments/name/{deployment}/{deployment}")
        return str(self.post(f"deployments/{found['id']}/create_flow_run", parameters=parameters)["id"])

    def presets(self) -> list[str]:
        """What the short form offers."""
        form = self.ask("GET", "deployments/name/train-character/train-character")["parameter_openapi_schema"]
        return list(form["properties"]["preset"]["enum"])

    def add_preset(self, name: str, text: str) -> None:
        """Write a preset and wait until the forms offer it."""
        (self.project.folder / "recipes" / f"{name}.toml").write_text(text)
        wait_for(lambda: name in self.presets(), f"the preset {name} in the form")

    def caught_in_training(self, character: str) -> str:
        """A run that trains the character again, between its first epoch and its last; returns the run's id."""
        run = self.submit("train-character", character=character, force=["train character"])
        self.state(run, "Running")
        work = self.project.folder / ".headcanon/work"
        wait_for(lambda: any(work.glob(f"*/{character}-000001.safetensors")), "the training's first epoch")
        return run

    def state(self, run_id: str, *wanted: str) -> dict[str, Any]:
        """Wait until the run is in one of these states; returns the run."""

        def look() -> dict[str, Any] | None:
            try:
                run = self.run(run_id)
            except httpx.HTTPError:  # a server that a test has taken away comes back
                return None
            ended = run["state_type"] in ("COMPLETED", "FAILED", "CRASHED") and run["state_name"] not in wanted
            assert not ended, (run["state"], self.worker_log())
            return run if run["state_name"] in wanted else None

        found: dict[str, Any] = wait_for(look, f"{run_id} to be {wanted}")
        return found

    def steps(self, run_id: str, *wanted: str) -> dict[str, list[str]]:
        """Step → the states of its task runs, oldest first, once the wanted ones have ended; they arrive late."""

        def look() -> dict[str, list[str]] | None:
            runs = self.post("task_runs/filter", flow_runs={"id": {"any_": [run_id]}})
            found: dict[str, list[str]] = {}
            for run in sorted(runs, key=lambda run: run["expected_start_time"]):
                found.setdefault(run["name"], []).append(run["state_name"])
            return found if all(found.get(name, [""])[-1] in ("Completed", "Cached") for name in wanted) else None

        steps: dict[str, list[str]] = wait_for(look, f"the steps {wanted} at the server")
        return steps

    def retry(self, run_id: str) -> None:
        """As the UI's Retry does, until the run is taken again: a worker reports an end more than once, and late."""
        before = self.run(run_id)["run_count"]

        def taken() -> bool:
            run = self.run(run_id)
            if run["state_name"] == "Crashed":
                time.sleep(3)
                state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
                self.post(f"flow_runs/{run_id}/set_state", state=state, force=True)
            return bool(run["run_count"] > before)

        wait_for(taken, "the retried run to be taken")

    def worker_log(self) -> str:
        """The end of what the worker and its runs said."""
        return (self.project.folder / ".headcanon/logs/worker.log").read_text()[-3000:]


@contextlib.contextmanager
def started(project: Project, *options: str, password: str = "") -> Iterator[Up]:
    """A running `headcanon up` that is gone afterwards, whatever happens."""
    up = Up(project, *options, password=password)
    try:
        up.start()
        yield up
    finally:
        up.webhook.close()
        if up.process is not None and up.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                up.stop()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(up.process.pid, signal.SIGKILL)
