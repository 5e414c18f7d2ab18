"""Addresses of the characters, and of one of them."""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from anyio import from_thread
from fastapi import APIRouter, Body, Depends, Request
from fastapi.responses import HTMLResponse, Response

from flows.deploy import start_character
from flows.place import CHARACTERS, AllowedFolders, name_fault
from flows.request import DEFAULT_PRESET, recipe_of
from flows.runs import Run, latest
from flows.studio import files
from flows.studio.options import options_of, set_options
from flows.studio.web import KEEP, ROOT, Answer, Client, Text, TheHelper, key, page, quoted
from lora_core.errors import DatasetError, UserError
from lora_core.images.decode import decode
from lora_core.images.kinds import MEANT_BY
from lora_core.images.preview import small_jpeg
from lora_core.printable import one_line
from lora_core.recipe import COMPOSITIONS
from lora_core.report.published import Published, published_in

_THUMBNAIL_PX = (256, 256)


def _own_folder(name: str) -> Path:
    return files.character_folder(AllowedFolders(), name)


def _own_pictures(name: str) -> Path:
    """A character's own folder, if its pictures lie there: what lies elsewhere is not the page's to change."""
    own, folder = _own_folder(name), files.pictures_folder(AllowedFolders(), name)
    if folder != own:
        raise DatasetError(f"{name}: its pictures come from {folder}; change them there, or choose its own folder")
    return own


OwnPictures = Annotated[Path, Depends(_own_pictures)]
router = APIRouter(prefix=ROOT)
of_one = APIRouter(prefix=f"{ROOT}/c/{{name}}", dependencies=[Depends(_own_folder)])  # none without a character


@router.get("/")
def cards(client: Client) -> HTMLResponse:
    place = AllowedFolders()
    newest = {run.character: run for run in reversed(latest(client))}
    results = {one.character: one for one in reversed(published_in(Path(place.out)))}
    made = [_card(place, folder, newest.get(folder.name), results.get(folder.name)) for folder in place.characters]
    return HTMLResponse(page("characters", cards=made, odd=place.odd_folders))


def _card(place: AllowedFolders, folder: Path, run: Run | None, result: Published | None) -> dict[str, Any]:
    """What is shown of a character at a glance."""
    planned, error, source = 0, "", folder
    try:
        recipe = recipe_of(place, folder.name)
        planned = sum(recipe.plan.count(composition) for composition in COMPOSITIONS)
        source = Path(recipe.character.images)
    except UserError as problem:
        error = one_line(problem)
    pictures = files.screenshots(source)
    seen_ns = run.since.timestamp() * 1e9 if run and run.since and not run.is_open else float("inf")
    shown = {"run": run, "result": result, "error": error, "new": sum(file.modified_ns > seen_ns for file in pictures)}
    return {"name": folder.name, "pictures": pictures, "planned": planned, **shown}


@router.post("/characters")
def new(name: Text) -> Answer:
    if fault := name_fault(name.strip()):
        raise UserError(fault)
    (AllowedFolders().folder / CHARACTERS / name.strip()).mkdir(parents=True, exist_ok=True)
    return {"go": f"{ROOT}/c/{quoted(name.strip())}"}


@of_one.get("")
def one(name: str, client: Client, preset: str = "") -> HTMLResponse:
    place = AllowedFolders()
    presets = sorted(place.presets, key=lambda one: one != DEFAULT_PRESET)
    folder = files.pictures_folder(place, name)
    source = "" if folder == _own_folder(name) else str(folder)
    return HTMLResponse(page(
        "character", name=name, preset=preset or next(iter(presets), DEFAULT_PRESET), presets=presets, source=source,
        sources=sorted({*files.source_folders(place), source} - {""}), pictures=files.screenshots(folder),
        runs=[run for run in latest(client) if run.character == name][:5],
        results=published_in(Path(place.out), name), endings=",".join(MEANT_BY),
    ))  # fmt: skip


@of_one.get("/sheet")
def sheet(name: str, helper: TheHelper, preset: str = "") -> HTMLResponse:
    return HTMLResponse(helper.ask("sheet", name, preset))


@of_one.get("/options")
def options(name: str, preset: str = "") -> HTMLResponse:
    groups = options_of(name, preset)
    return HTMLResponse(page("options", name=name, preset=preset, main=groups.pop("main"), rest=groups))


@of_one.post("/options")
def change(name: str, said: Annotated[dict[str, str], Body()]) -> Answer:
    preset = said.pop("preset", "")
    set_options(name, preset, said)
    return {"go": f"{ROOT}/c/{quoted(name)}?preset={quoted(preset)}"} if "character.images" in said else {}


@of_one.put("/pictures/{path:path}")
def upload(folder: OwnPictures, path: str, request: Request) -> None:
    files.take_upload(folder, path, _pieces(request))


def _pieces(request: Request) -> Iterator[bytes]:
    """What is sent, as it comes."""
    stream = request.stream()
    with contextlib.suppress(StopAsyncIteration):
        while True:
            yield from_thread.run(stream.__anext__)


@of_one.post("/remove")
def remove(folder: OwnPictures, path: Text) -> None:
    files.remove_picture(folder, path)


@of_one.get("/thumbnails/{path:path}")
def thumbnail(name: str, path: str) -> Response:
    file = files.inside(files.pictures_folder(AllowedFolders(), name), path)
    return Response(_small(file, file.stat().st_mtime_ns), media_type="image/jpeg", headers=KEEP)


@lru_cache(maxsize=2000)
def _small(file: Path, modified_ns: int) -> bytes:
    """Of a screenshot as it was at that time."""
    return small_jpeg(decode(file.read_bytes(), file.name).image, _THUMBNAIL_PX)


@of_one.post("/start")
def start(name: str, preset: Text, client: Client) -> Answer:
    recipe_of(AllowedFolders(), name, preset=preset)  # a mistake is told here, not by a failed run
    run = start_character(client, {"character": name, "preset": preset}, key(), "studio")
    return {"go": f"{ROOT}/r/{run.id}"}


@of_one.post("/measure")
def measure(name: str, preset: Text, client: Client, helper: TheHelper) -> None:
    if any(run.works for run in latest(client)):
        raise UserError("a run is at work here, and would be slowed down: measure when it has ended")
    helper.ask("measure", name, preset)


@of_one.post("/caption")
def caption(name: str, preset: Text, picture: Text, text: Text, seen: Text, helper: TheHelper) -> None:
    helper.ask("set_caption", name, preset, picture, text, seen)


@of_one.post("/composition")
def composition(name: str, preset: Text, picture: Text, composition: Text, helper: TheHelper) -> None:
    helper.ask("set_composition", name, preset, picture, composition)
