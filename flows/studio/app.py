"""The page's addresses below /studio, as an application of its own before Prefect's."""

import base64
import hmac
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.studio import character_pages, files, run_pages
from flows.studio.helper import Helper
from flows.studio.pages import page
from flows.studio.runs import Runs
from flows.studio.shared import ROOT
from lora_core.errors import HeadcanonError, PublishError, UserError
from lora_core.printable import one_line

# Everything comes from this server, and a report that is shown in place runs in a frame without an origin.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "
    "frame-src 'self'; base-uri 'none'; form-action 'self'; object-src 'none'"
)


class Before:
    """Hands /studio to the page, / as well, and everything else to Prefect's server."""

    def __init__(self, page: ASGIApp, server: ASGIApp) -> None:
        self._before, self._server = page, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path in ("/", ROOT):
            await RedirectResponse(f"{ROOT}/")(scope, receive, send)
        elif scope["type"] == "http" and path.startswith(f"{ROOT}/"):
            await self._before(scope, receive, send)
        else:
            await self._server(scope, receive, send)


def studio(api: str, password: str = "") -> FastAPI:
    """The page.

    Args:
        api: address of the API of the server that it is served by.
        password: `user:password`, if that server has one.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.runs, app.state.helper = Runs(api, password), Helper()
    _guard(app, password)
    for router in (character_pages.router, character_pages.of_one, run_pages.router):
        app.include_router(router)
    return app


def _guard(app: FastAPI, password: str) -> None:
    """Who may ask, and how what is refused is told."""

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if password and not _knows(request.headers.get("authorization", ""), password):
            asks = {"WWW-Authenticate": 'Basic realm="headcanon", charset="UTF-8"'}
            return PlainTextResponse("the password of this server is needed\n", 401, asks)
        # No form of another page can send this header, even in a browser that tells no origin.
        if request.method not in ("GET", "HEAD") and request.headers.get("x-headcanon") != "page":
            return PlainTextResponse("only the studio page may change anything here\n", 403)
        answer = await go_on(request)
        answer.headers.setdefault("content-security-policy", _POLICY)
        answer.headers.setdefault("cache-control", "no-store")
        return answer

    @app.exception_handler(HeadcanonError)
    async def refuse(request: Request, error: Exception) -> Response:
        missing = files.NoSuchFileError if request.method != "GET" else files.NoSuchFileError | PublishError
        status = 404 if isinstance(error, missing) else 400 if isinstance(error, UserError) else 500
        if request.method != "GET":
            return JSONResponse({"error": one_line(error)}, status)
        return HTMLResponse(page("error", error=one_line(error)), status)


def _knows(header: str, password: str) -> bool:
    kind, _, word = header.partition(" ")
    try:
        return kind.lower() == "basic" and hmac.compare_digest(base64.b64decode(word), password.encode())
    except ValueError:
        return False
