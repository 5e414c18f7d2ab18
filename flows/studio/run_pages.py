"""Addresses of the runs, the queue and the results."""

import contextlib
import json
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from fastapi.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from pydantic import BeforeValidator

from flows import runs
from flows.deploy import start, start_character
from flows.place import AllowedFolders
from flows.request import chosen_in_form
from flows.studio import files
from flows.studio.helper import Helper
from flows.studio.runs import boxes_of, drawing, question_of
from flows.studio.web import KEEP, ROOT, Answer, Client, Text, TheHelper, key, page, quoted
from lora_core.errors import HeadcanonError, UserError
from lora_core.report.published import Published, find_published, published_in
from lora_core.store import open_store


def _published(name: str) -> Published:
    return find_published(Path(AllowedFolders().out), name)


Found = Annotated[Published, Depends(_published)]
router = APIRouter(prefix=ROOT)
_LANES_SECONDS = 0.5
_listed = BeforeValidator(lambda text: str(text).replace(",", " ").split())
Whole = Annotated[int, Body()]
Number = Annotated[float, Body()]
Wholes = Annotated[tuple[int, ...], _listed, Body()]
Numbers = Annotated[tuple[float, ...], _listed, Body()]


@router.get("/r/{run}")
def one(run: str, client: Client, helper: TheHelper) -> HTMLResponse:
    place, found = AllowedFolders(), runs.read_run(client, run)
    bars = runs.progress(client, [found.id])
    shown = runs.described(client, found, client.read_flow(found.flow_id).name, bars)
    boxes = boxes_of(client, found, bars)
    curves = open_store(place.store).curves_folder("")
    names = dict.fromkeys((bar.metadata_ or {}).get("curves", "") for bar in bars)
    drawn = [curve for name in names if (curve := drawing(curves, name))]
    made = published_in(Path(place.out), shown.character) if shown.character else ()
    result = made[0].name if made else shown.parameters.get("result", "")
    lanes = {"": tuple(boxes)}
    with contextlib.suppress(HeadcanonError, TimeoutError):  # its recipe is gone; the helper is busy
        if shown.character:
            lanes = _lanes(helper, run, json.dumps(shown.parameters)).result(_LANES_SECONDS)
    asked = question_of(client, found)
    return HTMLResponse(page("run", run=shown, boxes=boxes, lanes=lanes, asked=asked, drawn=drawn, result=result))


@lru_cache(maxsize=1000)
def _lanes(helper: Helper, _run: str, parameters: str) -> Future[Any]:
    """The graph of a run of one character, which the helper may still be making."""
    return helper.begin("lanes", json.loads(parameters))


@router.post("/r/{run}/{action}")
def act(run: str, action: str, said: Annotated[dict[str, Any], Body()], client: Client) -> None:
    runs.act(client, run, action, {key: value for key, value in said.items() if value != ""})


@router.get("/queue")
def queue(client: Client) -> HTMLResponse:
    found = runs.latest(client)
    ended = [run for run in found if not run.is_open][:50]
    return HTMLResponse(page("queue", open=runs.in_order(found), ended=ended))


@router.get("/curves/{name}/{file}")
def sample(name: str, file: str) -> Response:
    folder = open_store(AllowedFolders().store).curves_folder("")
    return FileResponse(files.inside(folder, f"{name}/samples/{file}"), headers=KEEP)


@router.get("/pictures/{digest}")
def picture(digest: str) -> Response:
    store = open_store(AllowedFolders().store)
    data = store.get_bytes(digest) if len(digest) == 64 and digest.isalnum() and store.has(digest) else b""
    if not data.startswith(b"\x89PNG"):
        raise files.NoSuchFileError("there is no such picture")
    return Response(data, media_type="image/png", headers=KEEP)


@router.get("/out/{name}.zip")
def archive(found: Found) -> Response:
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quoted(found.name)}.zip"}
    return StreamingResponse(found.zipped(), media_type="application/zip", headers=headers)


@router.get("/out/{name}")
def result(found: Found, client: Client) -> HTMLResponse:
    at_it = [run for run in runs.latest(client) if run.is_open and run.parameters.get("result") == found.name]
    versions = published_in(found.folder.parent, found.character)
    return HTMLResponse(page("result", result=found, versions=versions, drawing=at_it))


@router.post("/out/{name}/draw")
def draw(found: Found, prompts: Text, epochs: Wholes, weights: Numbers, seeds: Wholes, client: Client) -> None:
    lines = tuple(line.strip() for line in prompts.splitlines() if line.strip())
    asked = found.further(lines, epochs, weights, seeds)  # a mistake is told here, not by a failed run
    start(client, "draw-more", {"result": found.name, **asked.parameters}, key(), "studio")


@router.post("/out/{name}/choose")
def choose(found: Found, epoch: Whole, weight: Number, client: Client, helper: TheHelper) -> Answer:
    """Another epoch or weight, published beside this one by a run that finds all its work done."""
    of, (_, epochs) = found.character, found.made_of
    before = [run for run in runs.latest(client) if run.character == of]
    if any(run.is_open for run in before):
        raise UserError(f"{of}: a run of it is open; choose when that has ended")
    started = {json.dumps(run.parameters): (run.flow, run.parameters) for run in before}
    for flow, said in (*started.values(), ("train-character", {"character": of})):
        with contextlib.suppress(UserError):  # a preset that is gone
            if helper.ask("epochs_of", said) == epochs:
                chosen = chosen_in_form(said, epoch, weight)
                return {"go": f"{ROOT}/r/{start_character(client, chosen, key(), 'studio', flow).id}"}
    raise UserError(
        f"{found.name}: its pictures or options have changed since, so that another epoch would have to be trained "
        f"again; start a training of {of}, then choose on its result"
    )


@router.get("/out/{name}/{path:path}")
def file(name: str, path: str) -> Response:
    found = files.inside(Path(AllowedFolders().out), f"{name}/{path}")
    shown = found.suffix in (".png", ".jpg", ".webp", ".html", ".txt", ".json")
    # A page of results has no rights here: it may be anybody's.
    headers = {"content-security-policy": "sandbox allow-scripts allow-popups allow-downloads"}
    return FileResponse(found, headers=headers, filename=None if shown else found.name)
