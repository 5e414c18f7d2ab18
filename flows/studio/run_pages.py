"""Addresses of the runs, the queue and the results."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response, StreamingResponse

from flows.place import AllowedFolders
from flows.runs import Run, in_order
from flows.studio import files
from flows.studio.curves import drawing
from flows.studio.helper import Helper
from flows.studio.pages import page, quoted
from flows.studio.shared import KEEP, ROOT, Answer, Said, TheHelper, TheRuns
from lora_core.errors import HeadcanonError, UserError
from lora_core.printable import one_line
from lora_core.report.published import Published, find_published, published_in
from lora_core.store import open_store

router = APIRouter(prefix=ROOT)
N = TypeVar("N", int, float)


@router.get("/r/{run}", response_class=HTMLResponse)
def one(run: str, runs: TheRuns, helper: TheHelper) -> str:
    place, details = AllowedFolders(), runs.details(run)
    curves = open_store(place.store).curves_folder("")
    drawn = [found for name in details.curves if (found := (name, drawing(curves, name)))[1]]
    of, result = details.run.character, details.run.parameters.get("result", "")
    if of and (made := published_in(Path(place.out), of)):
        result = made[0].name
    return page("run", details=details, lanes=_lanes(helper, details.run), drawn=drawn, result=result, here="queue")


@router.post("/r/{run}/{action}")
def act(run: str, action: str, said: Said, runs: TheRuns) -> Answer:
    runs.act(run, action, {key: value for key, value in said.items() if value != ""})
    return {}


@router.get("/queue", response_class=HTMLResponse)
def queue(runs: TheRuns) -> str:
    found = runs.latest()
    return page("queue", open=in_order(found), ended=[run for run in found if not run.is_open][:50], here="queue")


@router.get("/curves/{name}/{file}")
def sample(name: str, file: str) -> Response:
    folder = open_store(AllowedFolders().store).curves_folder("")
    return FileResponse(files.inside(folder, f"{name}/samples/{file}"), headers=KEEP)


@router.get("/out/{name}.zip")
def archive(name: str) -> Response:
    found = _published(name)
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quoted(name)}.zip"}
    return StreamingResponse(files.zipped(found.folder), media_type="application/zip", headers=headers)


@router.get("/out/{name}", response_class=HTMLResponse)
def result(name: str, runs: TheRuns) -> str:
    found = _published(name)
    at_it = [run for run in runs.latest() if run.is_open and run.parameters.get("result") == name]
    return page(
        "result", result=found, versions=published_in(found.folder.parent, found.character), drawing=at_it,
        here="characters",
    )  # fmt: skip


@router.post("/out/{name}/draw")
def draw(name: str, said: Said, runs: TheRuns) -> Answer:
    prompts = tuple(line.strip() for line in said["prompts"].splitlines() if line.strip())
    epochs, weights, seeds = (
        _numbers(said["epochs"], int),
        _numbers(said["weights"], float),
        _numbers(said["seeds"], int),
    )
    asked = _published(name).further(prompts, epochs, weights, seeds)  # a mistake is told here, not by a failed run
    runs.draw(name, asked)
    return {}


@router.post("/out/{name}/choose")
def choose(name: str, said: Said, runs: TheRuns, helper: TheHelper) -> Answer:
    """Another epoch or weight, published beside this one by a run that finds all its work done."""
    found = _published(name)
    of, (_, epochs), before = found.character, found.made_of, runs.of(found.character)
    if any(run.is_open for run in before):
        raise UserError(f"{of}: a run of it is open; choose when that has ended")
    known = [run.parameters for run in before if run.flow == "train-character"]
    for parameters in {tuple(_said(one)): one for one in (*known, {"character": of})}.values():
        with contextlib.suppress(UserError):  # a preset that is gone
            if helper.ask("epochs_of", *_said(parameters)) == epochs:
                choice = {"force": [], "epoch": int(said["epoch"]), "weight": float(said["weight"])}
                return {"go": f"{ROOT}/r/{runs.start({**parameters, **choice})}"}
    raise UserError(
        f"{name}: its pictures or options have changed since, so that another epoch would have to be trained again; "
        f"start a training of {of}, then choose on its result"
    )


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


def _published(name: str) -> Published:
    return find_published(Path(AllowedFolders().out), name)


def _numbers(text: str, kind: Callable[[str], N]) -> tuple[N, ...]:
    try:
        return tuple(map(kind, text.replace(",", " ").split()))
    except ValueError:
        raise UserError(f"{one_line(text)}: numbers with spaces between them are wanted, such as 1 2") from None


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
