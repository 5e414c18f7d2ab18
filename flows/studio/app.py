"""The page's addresses below /studio, as an application of its own before Prefect's."""

import base64
import functools
import hmac
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.place import CHARACTERS, PRESETS, AllowedFolders, name_fault
from flows.request import DEFAULT_PRESET, recipe_of
from flows.studio import files
from flows.studio.helper import Helper
from flows.studio.options import MAIN, Option, options_of, set_options
from flows.studio.pages import page, quoted
from flows.studio.runs import Run, Runs, drawing
from lora_core.errors import HeadcanonError, UserError
from lora_core.images.decode import decode
from lora_core.images.kinds import MEANT_BY
from lora_core.printable import one_line
from lora_core.recipe import COMPOSITIONS
from lora_core.store import open_store

ROOT = "/studio"
_THUMBNAIL_PX = 256
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
    runs, helper = Runs(api, password), Helper()
    _guard(app, password)
    _characters(app, runs, helper)
    _runs(app, runs, helper)
    _results(app)
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
        status = 404 if isinstance(error, files.NoSuchFileError) else 400 if isinstance(error, UserError) else 500
        if request.method != "GET":
            return JSONResponse({"error": one_line(error)}, status)
        return HTMLResponse(page("error", error=one_line(error)), status)


def _knows(header: str, password: str) -> bool:
    kind, _, word = header.partition(" ")
    try:
        return kind.lower() == "basic" and hmac.compare_digest(base64.b64decode(word), password.encode())
    except ValueError:
        return False


def _characters(app: FastAPI, runs: Runs, helper: Helper) -> None:
    @app.get(f"{ROOT}/", response_class=HTMLResponse)
    def cards() -> str:
        place = AllowedFolders()
        newest = {run.character: run for run in reversed(runs.latest())}
        results = files.results(place)
        made = [_card(place, folder, newest.get(folder.name), results) for folder in place.characters]
        return page("characters", cards=made, odd=place.odd_folders, here="characters")

    @app.post(f"{ROOT}/characters")
    async def new(request: Request) -> dict[str, str]:
        name = str((await request.json()).get("name", "")).strip()
        if fault := name_fault(name):
            raise UserError(fault)
        (AllowedFolders().folder / CHARACTERS / name).mkdir(parents=True, exist_ok=True)
        return {"go": f"{ROOT}/c/{quoted(name)}"}

    @app.get(f"{ROOT}/c/{{name}}", response_class=HTMLResponse)
    def one(name: str, preset: str = "") -> str:
        place = AllowedFolders()
        folder = files.character_folder(place, name)
        presets = sorted(path.stem for path in (place.folder / PRESETS).glob("*.toml"))
        return page(
            "character", name=name, preset=preset or DEFAULT_PRESET, presets=presets, here="characters",
            pictures=files.screenshots(folder), runs=[run for run in runs.latest() if run.character == name][:5],
            results=files.results(place, name), endings=",".join(MEANT_BY),
        )  # fmt: skip

    @app.get(f"{ROOT}/c/{{name}}/sheet", response_class=HTMLResponse)
    def sheet(name: str, preset: str = "") -> str:
        files.character_folder(AllowedFolders(), name)
        shown = helper.ask("show", name, preset)
        return page("sheet", name=name, preset=preset, shown=shown, compositions=COMPOSITIONS)

    @app.get(f"{ROOT}/c/{{name}}/options", response_class=HTMLResponse)
    def options(name: str, preset: str = "") -> str:
        files.character_folder(AllowedFolders(), name)
        found = options_of(name, preset)
        by_path = {one.path: one for one in found}
        rest: dict[str, list[Option]] = {}
        for one in found:
            if one.path not in MAIN:
                rest.setdefault(one.path.rpartition(".")[0] or "general", []).append(one)
        main = [by_path[path] for path in MAIN if path in by_path]
        return page("options", name=name, preset=preset, main=main, rest=rest)

    @app.put(f"{ROOT}/c/{{name}}/pictures/{{path:path}}")
    async def upload(name: str, path: str, request: Request) -> dict[str, str]:
        await files.take_upload(files.character_folder(AllowedFolders(), name), path, request.stream())
        return {}

    @app.delete(f"{ROOT}/c/{{name}}/pictures/{{path:path}}")
    def remove(name: str, path: str) -> dict[str, str]:
        files.remove_picture(files.character_folder(AllowedFolders(), name), path)
        return {}

    @app.get(f"{ROOT}/c/{{name}}/thumbnails/{{path:path}}")
    def thumbnail(name: str, path: str) -> Response:
        file = files.inside(files.character_folder(AllowedFolders(), name), path)
        return Response(_small(file, file.stat().st_mtime_ns), media_type="image/jpeg", headers=_KEEP)

    @app.post(f"{ROOT}/c/{{name}}/do/{{what}}")
    async def do(name: str, what: str, request: Request) -> dict[str, str]:
        said = {key: str(value) for key, value in (await request.json()).items()}
        files.character_folder(AllowedFolders(), name)
        return await run_in_threadpool(_change, runs, helper, name, what, said)


def _change(runs: Runs, helper: Helper, name: str, what: str, said: dict[str, str]) -> dict[str, str]:
    """What a button of a character's page does."""
    preset = said.pop("preset", "")
    if what == "start":
        recipe_of(AllowedFolders(), name, preset=preset)  # a mistake is told here, not by a failed run
        return {"go": f"{ROOT}/r/{runs.start(name, preset)}"}
    if what == "options":
        set_options(name, preset, said)
    elif what == "caption":
        helper.ask("set_caption", name, preset, said["picture"], said["text"], said["seen"])
    elif what == "composition":
        helper.ask("set_composition", name, preset, said["picture"], said["composition"])
    else:
        raise UserError(f"{what}: there is no such button")
    return {}


def _runs(app: FastAPI, runs: Runs, helper: Helper) -> None:
    @app.get(f"{ROOT}/r/{{run}}", response_class=HTMLResponse)
    def one(run: str) -> str:
        return page("run", details=runs.details(run), here="queue")

    @app.get(f"{ROOT}/r/{{run}}/live", response_class=HTMLResponse)
    def live(run: str) -> str:
        place, details = AllowedFolders(), runs.details(run)
        curves = open_store(place.store).curves_folder("")
        drawn = [found for name in details.curves if (found := (name, drawing(curves, name)))[1]]
        results = files.results(place, details.run.character)
        return page("live", details=details, lanes=_lanes(helper, details.run), drawn=drawn, results=results)

    @app.post(f"{ROOT}/r/{{run}}/{{action}}")
    async def act(run: str, action: str, request: Request) -> dict[str, str]:
        answer = {key: value for key, value in (await request.json()).items() if value != ""}
        await run_in_threadpool(runs.act, run, action, answer)
        return {}

    @app.get(f"{ROOT}/queue", response_class=HTMLResponse)
    def queue() -> str:
        return page("queue", here="queue")

    @app.get(f"{ROOT}/queue/live", response_class=HTMLResponse)
    def queue_live() -> str:
        found = runs.latest(100)
        return page("queue_live", open=[run for run in found if run.is_open], ended=[r for r in found if not r.is_open])

    @app.get(f"{ROOT}/curves/{{name}}/{{file}}")
    def sample(name: str, file: str) -> Response:
        folder = open_store(AllowedFolders().store).curves_folder("")
        return FileResponse(files.inside(folder, f"{name}/samples/{file}"), headers=_KEEP)


def _results(app: FastAPI) -> None:
    @app.get(f"{ROOT}/out/{{name}}", response_class=HTMLResponse)
    def one(name: str) -> str:
        found = files.results(AllowedFolders())
        result = next((result for result in found if result["name"] == name), None)
        if result is None:
            raise files.NoSuchFileError(f"{name}: there is no such result in out/")
        versions = [one for one in found if one["character"] == result["character"]]
        return page("result", result=result, versions=versions, here="characters")

    @app.get(f"{ROOT}/out/{{name}}.zip")
    def archive(name: str) -> Response:
        lora = files.inside(Path(AllowedFolders().out), f"{name}/{name}.safetensors")
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{quoted(name)}.zip"}
        return StreamingResponse(files.zipped(lora.parent), media_type="application/zip", headers=headers)

    @app.get(f"{ROOT}/out/{{name}}/{{path:path}}")
    def file(name: str, path: str) -> Response:
        found = files.inside(Path(AllowedFolders().out), f"{name}/{path}")
        shown = found.suffix in (".png", ".jpg", ".webp", ".html", ".txt", ".json")
        # A page of results has no rights here: it may be anybody's.
        headers = {"content-security-policy": "sandbox allow-scripts allow-popups allow-downloads"}
        return FileResponse(found, headers=headers, filename=None if shown else found.name)

    @app.get(f"{ROOT}/pictures/{{digest}}")
    def picture(digest: str) -> Response:
        data = files.stored_picture(open_store(AllowedFolders().store), digest)
        return Response(data, media_type="image/png", headers=_KEEP)


_KEEP = {"cache-control": "private, max-age=86400"}


def _card(place: AllowedFolders, folder: Path, run: Run | None, results: list[dict[str, Any]]) -> dict[str, Any]:
    """What is shown of a character at a glance."""
    pictures, planned, error = files.screenshots(folder), 0, ""
    try:
        plan = recipe_of(place, folder.name).plan
        planned = sum(plan.count(composition) for composition in COMPOSITIONS)
    except UserError as problem:
        error = one_line(problem)
    seen = run.since.timestamp() if run and run.since else 0
    new = sum((folder / path).stat().st_mtime > seen for path in pictures) if run and not run.is_open else 0
    result = next((one["name"] for one in results if one["character"] == folder.name), "")
    return {
        "name": folder.name, "pictures": pictures, "planned": planned, "error": error, "run": run, "new": new,
        "result": result,
    }  # fmt: skip


_known_lanes: dict[str, tuple[tuple[str, str], ...]] = {}


def _lanes(helper: Helper, run: Run) -> tuple[tuple[str, str], ...]:
    """The graph of a run of one character; of the others, and where the recipe has gone, nothing."""
    if run.id not in _known_lanes:
        names = ("character", "folder", "preset", "base")
        said = [str(run.parameters.get(name) or "") for name in names]
        try:
            _known_lanes[run.id] = helper.ask("lanes", *said) if run.flow == "train-character" else ()
        except HeadcanonError:
            return ()
    return _known_lanes[run.id]


@functools.lru_cache(maxsize=2000)
def _small(file: Path, modified_ns: int) -> bytes:
    """A small JPEG on white of a screenshot as it was at that time."""
    image = decode(file.read_bytes(), file.name).image.convert("RGBA")
    image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    data = io.BytesIO()
    paper.convert("RGB").save(data, "JPEG", quality=85)
    return data.getvalue()
