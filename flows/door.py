"""The lock of the server's door: it answers under its own names, and to its own pages.

Prefect's server has no users. Without a password, whoever reaches it is its owner, and every web page that is open in a
browser on this machine reaches 127.0.0.1. A browser says where a request comes from, and does not let a page choose:

- `Host` is the name the page was opened under. A name that an attacker has pointed at 127.0.0.1 (DNS rebinding) is not
  one of ours.
- `Origin` comes with every request that can change something, and with every WebSocket.
- `Sec-Fetch-Site` comes with the others: pictures, scripts, forms that only read. A link from elsewhere may still open
  the UI in a window of its own.

What is no browser (workers, the command line) sends neither of the last two. Prefect's own CSRF check is switched on
besides, for browsers so old that they say less.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")


def reached_at(host: str) -> str:
    """Address at which a server that listens at `host` is reached on its own machine."""
    return LOOPBACK[0] if host in EVERYWHERE else host


PREFECT_SETTINGS = {
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://nobody.invalid",  # empty would mean Prefect's default: everybody
    "PREFECT_UI_API_URL": "/api",  # of the page's own address, whatever name and port it was reached by
}
"""What the server is set to, whoever starts it."""

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SECURE = ("https", "wss")
# Nobody may frame the UI and let a click on their page land on its buttons.
_ANSWER_HEADERS = {
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


class Origin(NamedTuple):
    """Where a page comes from, as browsers compare it."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The origin of `scheme://host[:port]`.

        Raises:
            ValueError: it is nothing of that kind.
        """
        parts = urlsplit(url)
        whole = url.lower() == f"{parts.scheme}://{parts.netloc}".lower()
        if parts.scheme not in ("http", "https") or not parts.hostname or not whole or "@" in url:
            raise ValueError(f"{url!r} is not http://HOST or https://HOST, with a port or without")
        return cls(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])


@dataclass(frozen=True)
class Names:
    """What the server is called.

    Attributes:
        hosts: names and addresses it answers under, at any port: a tunnel may end at another one.
        origins: pages elsewhere that are its own, behind a reverse proxy.
        any_address: whether it answers under every IP address too. A rebound name is a name, never an address.
    """

    hosts: frozenset[str]
    origins: frozenset[Origin] = frozenset()
    any_address: bool = False

    @classmethod
    def of(cls, host: str, hostname: str, origins: Iterable[str] = ()) -> "Names":
        """The names of a server that listens at `host`, on the machine called `hostname`."""
        known = frozenset(Origin.of(origin) for origin in origins)
        beyond = () if host in LOOPBACK else (hostname.lower(),)
        hosts = {*LOOPBACK, *beyond, *(origin.host for origin in known)} | ({host.lower()} - set(EVERYWHERE))
        return cls(frozenset(hosts), known, host in EVERYWHERE)

    def refusal(self, scope: Scope) -> str:
        """Why a request is refused, for whoever reads the answer; empty: it is not."""
        headers = Headers(scope=scope)
        own = self._addressed(scope, headers.getlist("host"))
        if own is None:
            return "this server does not answer under that name; `headcanon up --origin URL` adds one"
        if any(not self._is_own(origin, own) for origin in headers.getlist("origin")):
            return "a page of another origin may not ask this server"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not _opens_a_window(scope, headers):
            return "a page of another site may not ask this server"
        return ""

    def _addressed(self, scope: Scope, hosts: list[str]) -> Origin | None:
        """What the request calls this server, if that is one of its names."""
        scheme = "https" if scope["scheme"] in _SECURE else "http"
        try:
            (host,) = hosts
            own = Origin.of(f"{scheme}://{host}")
        except ValueError:
            return None
        return own if own.host in self.hosts or (self.any_address and _is_address(own.host)) else None

    def _is_own(self, origin: str, own: Origin) -> bool:
        try:
            page = Origin.of(origin)
        except ValueError:  # "null": a sandboxed frame, a file
            return False
        return page == own or page in self.origins


class Door:
    """ASGI middleware before the whole server: its API, its WebSockets and its pages."""

    def __init__(self, app: ASGIApp, names: Names) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif not (why := self._names.refusal(scope)):
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await WebSocketClose(code=1008, reason=why)(scope, receive, send)
        else:
            await PlainTextResponse(why + "\n", status_code=403)(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_ANSWER_HEADERS)
            headers.append("content-security-policy", "frame-ancestors 'none'")  # beside a page's own
        await send(message)

    return sending


def _opens_a_window(scope: Scope, headers: Headers) -> bool:
    """Whether a person follows a link to the UI: its own script then asks for everything else, from its own origin."""
    return (
        scope["type"] == "http"
        and scope["method"] in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and not scope["path"].startswith("/api")
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
