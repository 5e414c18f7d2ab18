"""Addresses of the runs, the queue and the results."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from flows.place import AllowedFolders
from flows.studio import files
from flows.studio.helper import Helper
from flows.studio.pages import page, quoted
from flows.studio.runs import Run, drawing
from flows.studio.shared import KEEP, ROOT, TheHelper, TheRuns
from lora_core.errors import HeadcanonError
from lora_core.store import open_store

router = APIRouter(prefix=ROOT)


@router.get("/r/{run}", response_class=HTMLResponse)
def one(run: str, runs: TheRuns) -> str:
    return page("run", details=runs.details(run), here="queue")


@router.get("/r/{run}/live", response_class=HTMLResponse)
def live(run: str, runs: TheRuns, helper: TheHelper) -> str:
    place, details = AllowedFolders(), runs.details(run)
    curves = open_store(place.store).curves_folder("")
    drawn = [found for name in details.curves if (found := (name, drawing(curves, name)))[1]]
    results = files.results(place, details.run.character)
    return page("live", details=details, lanes=_lanes(helper, details.run), drawn=drawn, results=results)


@router.post("/r/{run}/{action}")
async def act(run: str, action: str, request: Request, runs: TheRuns) -> dict[str, str]:
    answer = {key: value for key, value in (await request.json()).items() if value != ""}
    await run_in_threadpool(runs.act, run, action, answer)
    return {}


@router.get("/queue", response_class=HTMLResponse)
def queue() -> str:
    return page("queue", here="queue")


@router.get("/queue/live", response_class=HTMLResponse)
def queue_live(runs: TheRuns) -> str:
    found = runs.latest(100)
    return page("queue_live", open=[run for run in found if run.is_open], ended=[r for r in found if not r.is_open])


@router.get("/curves/{name}/{file}")
def sample(name: str, file: str) -> Response:
    folder = open_store(AllowedFolders().store).curves_folder("")
    return FileResponse(files.inside(folder, f"{name}/samples/{file}"), headers=KEEP)


@router.get("/out/{name}.zip")
def archive(name: str) -> Response:
    lora = files.inside(Path(AllowedFolders().out), f"{name}/{name}.safetensors")
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quoted(name)}.zip"}
    return StreamingResponse(files.zipped(lora.parent), media_type="application/zip", headers=headers)


@router.get("/out/{name}", response_class=HTMLResponse)
def result(name: str) -> str:
    found = files.results(AllowedFolders())
    shown = next((one for one in found if one["name"] == name), None)
    if shown is None:
        raise files.NoSuchFileError(f"{name}: there is no such result in out/")
    versions = [one for one in found if one["character"] == shown["character"]]
    return page("result", result=shown, versions=versions, here="characters")


@router.get("/out/{name}/{path:path}")
def file(name: str, path: str) -> Response:
    found = files.inside(Path(AllowedFolders().out), f"{name}/{path}")
    shown = found.suffix in (".png", ".jpg", ".webp", ".html", ".txt", ".json")
    # A page of results has no rights here: it may be anybody's.
    headers = {"content-security-policy": "sandbox allow-scripts allow-popups allow-downloads"}
    return FileResponse(found, headers=headers, filename=None if shown else found.name)


@router.get("/pictures/{digest}")
def picture(digest: str) -> Response:
    data = files.stored_picture(open_store(AllowedFolders().store), digest)
    return Response(data, media_type="image/png", headers=KEEP)


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
