"""A page that the user has open beside the UI, in a real browser: it reads nothing, starts nothing, shows nothing."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from running import Up, wait_for

pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make` brings it")
from chromium import chromium
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.long]

# Everything a page can do without its reader's help. Each is true where it got anything.
_TRIES = """
async ({server, deployment}) => {
  const api = server + "/api", run = `${api}/deployments/${deployment}/create_flow_run`;
  const body = JSON.stringify({parameters: {character: "thief"}, job_variables: {command: "id"}});
  const reads = async (url, options) => {
    try { const answer = await fetch(url, options); return answer.ok && (await answer.text()).length > 0; }
    catch { return false; }
  };
  const opens = path => new Promise(told => {
    const socket = new WebSocket(api.replace("http", "ws") + path, ["prefect"]);
    socket.onopen = () => { socket.send(JSON.stringify({type: "auth", token: null})); };
    socket.onmessage = () => { socket.close(); told(true); };
    socket.onerror = () => told(false);
  });
  const shows = source => new Promise(told => {
    const picture = new Image();
    picture.onload = () => told(true);
    picture.onerror = () => told(false);
    picture.src = source;
  });
  const form = document.createElement("form");
  Object.assign(form, {method: "post", action: run, enctype: "text/plain", target: "hidden"});
  const field = document.createElement("input");
  Object.assign(field, {name: body.slice(0, -1) + ', "x": "', value: '"}'});
  form.append(field);
  const frame = document.createElement("iframe");
  frame.name = "hidden";
  document.body.append(frame, form);
  form.submit();
  for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
    await reads(run, {method: "POST", mode: "no-cors", headers: {"Content-Type": type}, body});
  navigator.sendBeacon(run, body);
  const found = {
    reads: await reads(api + "/version"),
    reads_with_cookies: await reads(api + "/version", {credentials: "include"}),
    takes_a_token: await reads(api + "/csrf-token?client=thief"),
    starts: await reads(run, {method: "POST", headers: {"Content-Type": "application/json"}, body}),
    deletes: await reads(`${api}/deployments/${deployment}`, {method: "DELETE"}),
    embeds: await shows(server + "/v2/ico/favicon-32x32.png"),
  };
  for (const path of ["/events/in", "/events/out", "/logs/out"]) found["opens" + path] = await opens(path);
  return found;
}
"""
_OWN_MAY = {"reads", "reads_with_cookies", "takes_a_token", "opens/events/in", "opens/events/out", "opens/logs/out"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--host-resolver-rules=MAP evil.test 127.0.0.1, MAP rebound.test 127.0.0.1") as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1300, "height": 1300})
    yield page
    page.close()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of another web server on this machine, with an empty page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title><body></body>")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def _runs(up: Up) -> set[str]:
    return {run["id"] for run in up.post("flow_runs/filter", flows={"name": {"any_": ["train-character"]}})}


def _tried(up: Up, page: Page, server: str) -> set[str]:
    deployment = up.ask("GET", "deployments/name/train-character/train-character")["id"]
    found: dict[str, bool] = page.evaluate(_TRIES, {"server": server, "deployment": deployment})
    time.sleep(2)  # forms and beacons are not waited for by the page either
    assert up.ask("GET", f"deployments/{deployment}")["id"] == deployment
    return {what for what, done in found.items() if done}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.test"])
def test_a_page_of_another_origin_reads_nothing_and_starts_nothing(
    up: Up, page: Page, elsewhere: int, host: str
) -> None:
    before = _runs(up)
    page.goto(f"http://{host}:{elsewhere}/")
    for name in ("127.0.0.1", "localhost"):
        assert _tried(up, page, f"http://{name}:{up.port}") == set()
    assert _runs(up) == before


def test_its_own_page_may_read_and_listen_and_changes_nothing_without_a_token(up: Up, page: Page) -> None:
    """The same script from the UI's own origin: what it is refused elsewhere is there to be had."""
    before = _runs(up)
    page.goto(f"http://127.0.0.1:{up.port}/v2/dashboard")
    assert _tried(up, page, f"http://127.0.0.1:{up.port}") >= _OWN_MAY
    assert _runs(up) == before


def test_a_rebound_name_is_refused_though_it_is_its_own_origin(up: Up, page: Page) -> None:
    before = _runs(up)
    answer = page.goto(f"http://rebound.test:{up.port}/")
    assert answer is not None
    assert answer.status == 403
    assert "does not answer under that name" in answer.text()
    assert _tried(up, page, f"http://rebound.test:{up.port}") == set()
    assert _runs(up) == before


def test_nobody_frames_the_ui_and_a_link_to_it_opens_it(up: Up, page: Page, elsewhere: int) -> None:
    page.goto(f"http://localhost:{elsewhere}/")
    ui = f"http://127.0.0.1:{up.port}/v2/dashboard"
    page.evaluate("url => { const f = document.createElement('iframe'); f.src = url; document.body.append(f); }", ui)
    time.sleep(3)
    assert not any(frame.url.startswith(ui) and frame.locator("#root *").count() for frame in page.frames)
    page.evaluate(
        "url => { const a = document.createElement('a'); a.href = url; document.body.append(a); a.click(); }", ui
    )
    page.wait_for_url(f"{ui}**")
    expect(page.get_by_role("link", name="Deployments").first).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_ui_itself_works_under_both_of_its_names(up: Up, page: Page, host: str) -> None:
    """The form, the run that it starts, and its log, without a refused request."""
    refused: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status in (401, 403) else None)
    page.set_default_timeout(60_000)
    page.goto(f"http://{host}:{up.port}/v2/deployments")
    page.get_by_role("link", name="train-character", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.get_by_role("menuitem", name="Custom run").click()
    page.get_by_label("character").first.fill("nobody")
    before = _runs(up)
    page.get_by_role("button", name="Submit").click()
    (run,) = wait_for(lambda: _runs(up) - before, "the submitted run")
    page.goto(f"http://{host}:{up.port}/v2/runs/flow-run/{run}")
    up.state(run, "Failed")

    def told() -> bool:
        """The last lines reach the server late, and the UI asks no more once a run has ended."""
        page.reload()
        page.get_by_role("tab", name="Logs").click()
        page.wait_for_timeout(3_000)
        return page.get_by_text("there is no such folder").count() > 0

    wait_for(told, "the reason in the log", 120)
    assert refused == []
