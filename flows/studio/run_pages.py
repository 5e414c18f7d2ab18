"""Addresses of the runs, the queue and the results."""

import contextlib
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body
from fastapi.responses import FileResponse, HTMLResponse, Response, StreamingResponse

from flows import runs
from flows.deploy import start, start_character
from flows.place import AllowedFolders
from flows.studio import files
from flows.studio.helper import Helper
from flows.studio.runs import details, drawing
from flows.studio.web import KEEP, ROOT, Answer, Client, Text, TheHelper, key, page, quoted
from lora_core.errors import HeadcanonError, UserError
from lora_core.printable import one_line
from lora_core.report.published import Published, find_published, published_in
from lora_core.store import open_store

router = APIRouter(prefix=ROOT)
N = TypeVar("N", int, float)
_LANES_SECONDS = 0.5


@router.get("/r/{run}", response_class=HTMLResponse)
def one(run: str, client: Client, helper: TheHelper) -> str:
    place, shown = AllowedFolders(), details(client, run)
    curves, parameters = open_store(place.store).curves_folder(""), shown.run.parameters
    drawn = [found for name in shown.curves if (found := (name, drawing(curves, name)))[1]]
    made = published_in(Path(place.out), shown.run.character) if shown.run.character else ()
    result = made[0].name if made else parameters.get("result", "")
    lanes = {"": tuple(shown.boxes)}
    with contextlib.suppress(HeadcanonError, TimeoutError, BrokenExecutor):  # its recipe is gone; the helper is busy
        if shown.run.flow == "train-character":
            lanes = _lanes(helper, run, *_said(parameters)).result(_LANES_SECONDS)
    return page("run", details=shown, lanes=lanes, drawn=drawn, result=result, here="queue")


@router.post("/r/{run}/{action}")
def act(run: str, action: str, said: Annotated[dict[str, Any], Body()], client: Client) -> Answer:
    runs.act(client, run, action, {key: value for key, value in said.items() if value != ""})
    return {}


@router.get("/queue", response_class=HTMLResponse)
def queue(client: Client) -> str:
    found = runs.latest(client)
    return page("queue", open=runs.in_order(found), ended=[run for run in found if not run.is_open][:50], here="queue")


@router.get("/curves/{name}/{file}")
def sample(name: str, file: str) -> Response:
    folder = open_store(AllowedFolders().store).curves_folder("")
    return FileResponse(files.inside(folder, f"{name}/samples/{file}"), headers=KEEP)


@router.get("/out/{name}.zip")
def archive(name: str) -> Response:
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quoted(name)}.zip"}
    return StreamingResponse(files.zipped(_published(name).folder), media_type="application/zip", headers=headers)


@router.get("/out/{name}", response_class=HTMLResponse)
def result(name: str, client: Client) -> str:
    found = _published(name)
    at_it = [run for run in runs.latest(client) if run.is_open and run.parameters.get("result") == name]
    versions = published_in(found.folder.parent, found.character)
    return page("result", result=found, versions=versions, drawing=at_it, here="characters")


@router.post("/out/{name}/draw")
def draw(name: str, prompts: Text, epochs: Text, weights: Text, seeds: Text, client: Client) -> Answer:
    asked = _published(name).further(  # a mistake is told here, not by a failed run
        tuple(line.strip() for line in prompts.splitlines() if line.strip()),
        _numbers(epochs, int), _numbers(weights, float), _numbers(seeds, int),
    )  # fmt: skip
    start(client, "draw-more", {"result": name, **asked.parameters}, key(), "studio")
    return {}


@router.post("/out/{name}/choose")
def choose(name: str, epoch: Text, weight: Text, client: Client, helper: TheHelper) -> Answer:
    """Another epoch or weight, published beside this one by a run that finds all its work done."""
    found = _published(name)
    of, (_, epochs) = found.character, found.made_of
    before = [run for run in runs.latest(client) if run.character == of]
    if any(run.is_open for run in before):
        raise UserError(f"{of}: a run of it is open; choose when that has ended")
    known = [run.parameters for run in before if run.flow == "train-character"]
    for parameters in {_said(one): one for one in (*known, {"character": of})}.values():
        with contextlib.suppress(UserError):  # a preset that is gone
            if helper.ask("epochs_of", *_said(parameters)) == epochs:
                choice = {"force": [], "epoch": int(epoch), "weight": float(weight)}
                return {"go": f"{ROOT}/r/{start_character(client, {**parameters, **choice}, key(), 'studio').id}"}
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


@lru_cache(maxsize=1000)
def _lanes(helper: Helper, _run: str, *said: str) -> Future[Any]:
    """The graph of a run of one character, which the helper may still be making."""
    return helper.begin("lanes", *said)


def _said(parameters: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(parameters.get(name) or "") for name in ("character", "folder", "preset", "base"))
