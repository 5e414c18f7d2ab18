"""The page's addresses below /studio, as an application of its own before Prefect's."""

import base64
import hmac
from collections.abc import Awaitable, Callable
from functools import cache

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from prefect.client.orchestration import SyncPrefectClient
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.studio import character_pages, files, run_pages
from flows.studio.helper import Helper
from flows.studio.web import ROOT, page
from lora_core.errors import HeadcanonError, PublishError, UserError
from lora_core.printable import one_line

# Everything comes from this server, and a report that is shown in place runs in a frame without an origin.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "
    "frame-src 'self'; base-uri 'none'; form-action 'self'; object-src 'none'"
)


def before(page: ASGIApp, server: ASGIApp) -> ASGIApp:
    """The page at / and below /studio, and Prefect's server for everything else."""

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        own = scope["type"] == "http" and (path == "/" or f"{path}/".startswith(f"{ROOT}/"))
        await (page if own else server)(scope, receive, send)

    return either


def studio(api: str, password: str = "") -> FastAPI:
    """The page.

    Args:
        api: address of the API of the server that it is served by.
        password: `user:password`, if that server has one.
    """
    app = FastAPI(openapi_url=None)
    app.state.helper = Helper()
    # One for as long as this process: to make one takes longer than most answers.
    app.state.client = cache(lambda: SyncPrefectClient(api, auth_string=password or None).__enter__())
    app.add_api_route("/", lambda: RedirectResponse(f"{ROOT}/"))
    for router in (character_pages.router, character_pages.of_one, run_pages.router):
        app.include_router(router)
    for kind in (HeadcanonError, RequestValidationError):
        app.exception_handler(kind)(_refuse)
    known = base64.b64encode(password.encode())

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        if password and not (scheme.lower() == "basic" and hmac.compare_digest(said.encode(), known)):
            asks = {"WWW-Authenticate": 'Basic realm="headcanon", charset="UTF-8"'}
            return PlainTextResponse("the password of this server is needed\n", 401, asks)
        # No form of another page can send this header, even in a browser that tells no origin.
        if request.method not in ("GET", "HEAD") and request.headers.get("x-headcanon") != "page":
            return PlainTextResponse("only the studio page may change anything here\n", 403)
        answer = await go_on(request)
        answer.headers.setdefault("content-security-policy", _POLICY)
        answer.headers.setdefault("cache-control", "no-store")
        return answer

    return app


def _refuse(request: Request, error: Exception) -> Response:
    shown = request.method == "GET"
    missing = isinstance(error, files.NoSuchFileError) or (shown and isinstance(error, PublishError))
    status, text = 404 if missing else 400 if isinstance(error, UserError) else 500, one_line(error)
    if isinstance(error, RequestValidationError):  # a field of a form
        status, text = 400, "{loc[1]}: {msg}".format_map(error.errors()[0])
    return HTMLResponse(page("base", error=text, here=""), status) if shown else JSONResponse({"error": text}, status)
