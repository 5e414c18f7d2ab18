"""Addresses of the characters, and of one of them."""

import functools
import io
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from PIL import Image
from starlette.concurrency import run_in_threadpool

from flows.main_options import MAIN
from flows.place import CHARACTERS, PRESETS, AllowedFolders, name_fault
from flows.request import DEFAULT_PRESET, recipe_of
from flows.studio import files
from flows.studio.helper import Helper
from flows.studio.options import Option, options_of, set_options
from flows.studio.pages import page, quoted
from flows.studio.runs import Run, Runs
from flows.studio.shared import KEEP, ROOT, TheHelper, TheRuns
from lora_core.errors import UserError
from lora_core.images.decode import decode
from lora_core.images.kinds import MEANT_BY
from lora_core.printable import one_line
from lora_core.recipe import COMPOSITIONS

router = APIRouter(prefix=ROOT)
_THUMBNAIL_PX = 256


@router.get("/", response_class=HTMLResponse)
def cards(runs: TheRuns) -> str:
    place = AllowedFolders()
    newest = {run.character: run for run in reversed(runs.latest())}
    results = files.results(place)
    made = [_card(place, folder, newest.get(folder.name), results) for folder in place.characters]
    return page("characters", cards=made, odd=place.odd_folders, here="characters")


@router.post("/characters")
async def new(request: Request) -> dict[str, str]:
    name = str((await request.json()).get("name", "")).strip()
    if fault := name_fault(name):
        raise UserError(fault)
    (AllowedFolders().folder / CHARACTERS / name).mkdir(parents=True, exist_ok=True)
    return {"go": f"{ROOT}/c/{quoted(name)}"}


@router.get("/c/{name}", response_class=HTMLResponse)
def one(name: str, runs: TheRuns, preset: str = "") -> str:
    place = AllowedFolders()
    folder = files.character_folder(place, name)
    presets = sorted(path.stem for path in (place.folder / PRESETS).glob("*.toml"))
    return page(
        "character", name=name, preset=preset or DEFAULT_PRESET, presets=presets, here="characters",
        pictures=files.screenshots(folder), runs=[run for run in runs.latest() if run.character == name][:5],
        results=files.results(place, name), endings=",".join(MEANT_BY),
    )  # fmt: skip


@router.get("/c/{name}/sheet", response_class=HTMLResponse)
def sheet(name: str, helper: TheHelper, preset: str = "") -> str:
    files.character_folder(AllowedFolders(), name)
    shown = helper.ask("show", name, preset)
    return page("sheet", name=name, preset=preset, shown=shown, compositions=COMPOSITIONS)


@router.get("/c/{name}/options", response_class=HTMLResponse)
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


@router.put("/c/{name}/pictures/{path:path}")
async def upload(name: str, path: str, request: Request) -> dict[str, str]:
    await files.take_upload(files.character_folder(AllowedFolders(), name), path, request.stream())
    return {}


@router.delete("/c/{name}/pictures/{path:path}")
def remove(name: str, path: str) -> dict[str, str]:
    files.remove_picture(files.character_folder(AllowedFolders(), name), path)
    return {}


@router.get("/c/{name}/thumbnails/{path:path}")
def thumbnail(name: str, path: str) -> Response:
    file = files.inside(files.character_folder(AllowedFolders(), name), path)
    return Response(_small(file, file.stat().st_mtime_ns), media_type="image/jpeg", headers=KEEP)


@router.post("/c/{name}/do/{what}")
async def do(name: str, what: str, request: Request, runs: TheRuns, helper: TheHelper) -> dict[str, str]:
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
