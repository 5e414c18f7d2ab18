"""Addresses of the runs, the queue and the results."""

import contextlib
import functools
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from flows.draw_more import find_published
from flows.place import AllowedFolders
from flows.studio import files
from flows.studio.curves import drawing
from flows.studio.helper import Helper
from flows.studio.pages import page, quoted
from flows.studio.runs import Run, Runs
from flows.studio.shared import KEEP, ROOT, TheHelper, TheRuns
from lora_core.errors import HeadcanonError, UserError
from lora_core.printable import one_line
from lora_core.report.published import Published, published_in
from lora_core.store import open_store

router = APIRouter(prefix=ROOT)


@router.get("/r/{run}", response_class=HTMLResponse)
def one(run: str, runs: TheRuns, helper: TheHelper) -> str:
    place, details = AllowedFolders(), runs.details(run)
    curves = open_store(place.store).curves_folder("")
    drawn = [found for name in details.curves if (found := (name, drawing(curves, name)))[1]]
    result = details.run.parameters.get("result", "")
    made = published_in(Path(place.out), details.run.character) if details.run.character else []
    return page(
        "run", details=details, lanes=_lanes(helper, details.run), drawn=drawn, here="queue",
        result=result or (made[0].name if made else ""),
    )  # fmt: skip


@router.post("/r/{run}/{action}")
async def act(run: str, action: str, request: Request, runs: TheRuns) -> dict[str, str]:
    answer = {key: value for key, value in (await request.json()).items() if value != ""}
    await run_in_threadpool(runs.act, run, action, answer)
    return {}


@router.get("/queue", response_class=HTMLResponse)
def queue(runs: TheRuns) -> str:
    still_open, ended = runs.queue()
    return page("queue", open=still_open, ended=ended, here="queue")


@router.get("/curves/{name}/{file}")
def sample(name: str, file: str) -> Response:
    folder = open_store(AllowedFolders().store).curves_folder("")
    return FileResponse(files.inside(folder, f"{name}/samples/{file}"), headers=KEEP)


@router.get("/out/{name}.zip")
def archive(name: str) -> Response:
    found = find_published(AllowedFolders(), name)
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quoted(name)}.zip"}
    return StreamingResponse(files.zipped(found.folder), media_type="application/zip", headers=headers)


@router.get("/out/{name}", response_class=HTMLResponse)
def result(name: str, runs: TheRuns) -> str:
    place = AllowedFolders()
    found = find_published(place, name)
    drawing_now = [run for run in runs.latest() if run.is_open and run.parameters.get("result") == name]
    versions = published_in(Path(place.out), found.character)
    return page("result", result=found, versions=versions, drawing=drawing_now, here="characters")


@router.post("/out/{name}/{what}")
async def do(name: str, what: str, request: Request, runs: TheRuns, helper: TheHelper) -> dict[str, str]:
    said = {key: str(value) for key, value in (await request.json()).items()}
    found = find_published(AllowedFolders(), name)
    act = {"draw": _draw, "choose": _choose}.get(what)
    if act is None:
        raise UserError(f"{what}: there is no such button")
    return await run_in_threadpool(act, found, said, runs, helper)


def _draw(found: Published, said: dict[str, str], runs: Runs, _: Helper) -> dict[str, str]:
    """Further pictures: a mistake is told here, not by a failed run."""
    prompts = tuple(line.strip() for line in said["prompts"].splitlines() if line.strip())
    epochs, seeds = (tuple(map(int, _numbers(said[key]))) for key in ("epochs", "seeds"))
    asked, _options = found.further(prompts, epochs, tuple(_numbers(said["weights"])), seeds)
    runs.draw(found.name, asked)
    return {}


def _choose(found: Published, said: dict[str, str], runs: Runs, helper: Helper) -> dict[str, str]:
    """Another epoch or weight, published beside this one by a run that finds all its work done."""
    (epoch,), (weight,), (_, epochs) = _numbers(said["epoch"]), _numbers(said["weight"]), found.made_of
    before = runs.of(found.character)
    if any(run.is_open for run in before):
        raise UserError(f"{found.character}: a run of it is open; choose when that has ended")
    known = [run.parameters for run in before if run.flow == "train-character"]
    for parameters in {tuple(_said(one)): one for one in (*known, {"character": found.character})}.values():
        with contextlib.suppress(UserError):  # a preset that is gone
            if helper.ask("epochs_of", *_said(parameters)) == epochs:
                parameters = {**parameters, "force": [], "epoch": int(epoch), "weight": weight}
                return {"go": f"{ROOT}/r/{runs.start(parameters)}"}
    raise UserError(
        f"{found.name}: its pictures or options have changed since, so that another epoch would have to be trained "
        f"again; start a training of {found.character}, then choose on its result"
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise UserError(f"{one_line(text)}: numbers with spaces between them are wanted, such as 1 2") from None


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


@functools.lru_cache(maxsize=1000)
def _lanes_of(helper: Helper, _run: str, *said: str) -> tuple[tuple[str, str], ...]:
    found: tuple[tuple[str, str], ...] = helper.ask("lanes", *said)
    return found


def _lanes(helper: Helper, run: Run) -> tuple[tuple[str, str], ...]:
    """The graph of a run of one character; of the others, and where the recipe has gone, nothing."""
    with contextlib.suppress(HeadcanonError):
        return _lanes_of(helper, run.id, *_said(run.parameters)) if run.flow == "train-character" else ()
    return ()


def _said(parameters: dict[str, Any]) -> list[str]:
    return [str(parameters.get(name) or "") for name in ("character", "folder", "preset", "base")]
