"""Who is let in at the server's door: which names, which pages, which windows."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from flows.cli.up import up
from flows.door import Door, Names, Origin
from lora_core.errors import UserError

_AT_HOME = Names.of("127.0.0.1", "workstation")
_OWN = "http://127.0.0.1:4200"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SOCKETS = ("/api/events/in", "/api/events/out", "/api/logs/out", "/api/workers/anything")


async def _house(scope: Scope, receive: Receive, send: Send) -> None:
    """Lets everybody in, and says hello."""
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"access-control-allow-origin", b"*")]})
    await send({"type": "http.response.body", "body": b"hello"})


def _visitor(names: Names = _AT_HOME, url: str = _OWN) -> TestClient:
    return TestClient(Door(_house, names), base_url=url)


def _status(names: Names = _AT_HOME, url: str = _OWN, path: str = "/api/version", **headers: str) -> int:
    return (
        _visitor(names, url)
        .get(path, headers={key.replace("_", "-"): text for key, text in headers.items()})
        .status_code
    )


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200", "LOCALHOST:4200", "[::1]:4200", "localhost:8080"])
def test_it_answers_under_this_machine_s_own_names_whatever_the_port_of_a_tunnel(host: str) -> None:
    assert _status(host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test", "evil.test:4200", "127.0.0.1.evil.test:4200", "localhost.evil.test", "localhost.", "sub.localhost",
        "0.0.0.0:4200", "10.0.0.5:4200", "user@127.0.0.1", "127.0.0.1/x", "127.0.0.1:4200#x", "127.0.0.1:port", "[::1",
        "workstation", "",
    ],
)  # fmt: skip
def test_a_rebound_or_odd_name_is_refused(host: str) -> None:
    assert _status(host=host) == 403


@pytest.mark.parametrize("hosts", [(), ("127.0.0.1", "evil.test"), ("127.0.0.1", "127.0.0.1")])
def test_a_request_names_its_host_exactly_once(hosts: tuple[str, ...]) -> None:
    scope: dict[str, Any] = {
        "type": "http", "scheme": "http", "method": "GET", "path": "/",
        "headers": [(b"host", host.encode()) for host in hosts],
    }  # fmt: skip
    assert _AT_HOME.refusal(scope)


@pytest.mark.parametrize(
    ("listens", "host", "status"),
    [
        ("0.0.0.0", "192.168.1.5:4200", 200), ("0.0.0.0", "[fd00::5]:4200", 200), ("0.0.0.0", "workstation:4200", 200),
        ("0.0.0.0", "evil.test", 403), ("::", "192.168.1.5", 200), ("192.168.1.5", "192.168.1.5:4200", 200),
        ("192.168.1.5", "192.168.1.6:4200", 403), ("studio.lan", "STUDIO.lan", 200), ("studio.lan", "evil.test", 403),
    ],
)  # fmt: skip
def test_a_server_for_others_answers_under_its_addresses_and_its_name(listens: str, host: str, status: int) -> None:
    assert _status(Names.of(listens, "Workstation"), host=host) == status


@pytest.mark.parametrize("origin", [
    "http://127.0.0.1:9999", "http://127.0.0.1", "https://127.0.0.1:4200", "http://localhost:4200", "http://evil.test",
    "http://127.0.0.1:4200.evil.test", "http://127.0.0.1:4200@evil.test", "null", "", "file://", "chrome-extension://abc",
])  # fmt: skip
@pytest.mark.parametrize("method", _METHODS)
def test_a_page_of_another_origin_is_refused_whatever_it_asks(method: str, origin: str) -> None:
    answer = _visitor().request(method, "/api/version", headers={"origin": origin})
    assert answer.status_code == 403
    assert "hello" not in answer.text
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", _METHODS)
@pytest.mark.parametrize("url", [_OWN, "http://localhost:8080", "http://[::1]:4200", "https://localhost"])
def test_its_own_page_may_ask_everything_under_whatever_of_its_names(method: str, url: str) -> None:
    headers = {"origin": url, "sec-fetch-site": "same-origin"}
    assert _visitor(url=url).request(method, "/api/version", headers=headers).status_code == 200


def test_one_foreign_origin_among_several_is_enough_to_refuse() -> None:
    answer = _visitor().get("/", headers=[("origin", _OWN), ("origin", "http://evil.test")])
    assert answer.status_code == 403


@pytest.mark.parametrize("path", _SOCKETS)
@pytest.mark.parametrize("origin", ["http://127.0.0.1:9999", "http://evil.test", "null", "https://127.0.0.1:4200"])
def test_a_websocket_of_another_origin_is_refused_before_it_opens(path: str, origin: str) -> None:
    with pytest.raises(WebSocketDisconnect) as refused, _visitor().websocket_connect(path, headers={"origin": origin}):
        pass
    assert refused.value.code == 1008


@pytest.mark.parametrize("headers", [{}, {"origin": _OWN}])
@pytest.mark.parametrize("path", _SOCKETS)
def test_a_websocket_of_its_own_page_or_of_a_worker_opens(path: str, headers: dict[str, str]) -> None:
    with _visitor().websocket_connect(f"ws://127.0.0.1:4200{path}", headers=headers) as socket:
        assert socket.receive_text() == "hello"


def test_a_websocket_under_a_rebound_name_is_refused_though_it_calls_itself_its_origin() -> None:
    visitor = _visitor(url="http://evil.test:4200")
    with (
        pytest.raises(WebSocketDisconnect),
        visitor.websocket_connect(
            "/api/logs/out", headers={"host": "evil.test:4200", "origin": "http://evil.test:4200"}
        ),
    ):
        pass


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(("mode", "kind"), [("no-cors", "image"), ("no-cors", "script"), ("navigate", "iframe")])
def test_another_site_embeds_nothing(site: str, mode: str, kind: str) -> None:
    for path in ("/api/version", "/v2/dashboard"):
        assert _status(path=path, sec_fetch_site=site, sec_fetch_mode=mode, sec_fetch_dest=kind) == 403


def test_a_link_on_another_site_opens_the_ui_and_nothing_of_the_api() -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert _visitor().get("/v2/runs", headers=link).status_code == 200
    assert _visitor().get("/api/csrf-token", headers=link).status_code == 403
    assert _visitor().post("/v2/runs", headers=link).status_code == 403


def test_nobody_may_frame_the_ui() -> None:
    headers = _visitor().get("/v2/").headers
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_reverse_proxy_s_address_is_its_own_once_it_is_named() -> None:
    names = Names.of("127.0.0.1", "workstation", ["https://studio.example.org"])
    page = {"origin": "https://studio.example.org"}
    assert _status(names, host="studio.example.org", **page) == 200  # the proxy ends TLS, and keeps the name
    assert _status(names, host="127.0.0.1:4200", **page) == 200  # or does not keep it
    assert _status(names, host="studio.example.org", origin="https://studio.example.org:8443") == 403
    assert _status(_AT_HOME, host="studio.example.org", **page) == 403


@pytest.mark.parametrize(
    "url",
    [
        "studio.example.org",
        "https://",
        "ftp://x",
        "https://x/path",
        "https://u@x",
        "https://x:port",
        "*",
        "https://x?y",
    ],
)
def test_an_origin_that_is_none_is_named_before_anything_starts(url: str, tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Origin.of(url)
    with pytest.raises(UserError, match="--origin"):
        up(tmp_path / "studio", origin=[url])
    assert not (tmp_path / "studio").exists()
