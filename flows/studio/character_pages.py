"""Addresses of the characters, and of one of them."""

import functools
import io
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response
from PIL import Image

from flows.place import CHARACTERS, PRESETS, AllowedFolders, name_fault
from flows.request import DEFAULT_PRESET, recipe_of
from flows.runs import Run
from flows.studio import files
from flows.studio.options import options_of, set_options
from flows.studio.pages import page, quoted
from flows.studio.shared import KEEP, ROOT, Answer, Said, TheHelper, TheRuns
from lora_core.errors import DatasetError, UserError
from lora_core.images.decode import decode
from lora_core.images.kinds import MEANT_BY
from lora_core.printable import one_line
from lora_core.recipe import COMPOSITIONS
from lora_core.report.published import Published, published_in


def _own_folder(name: str) -> Path:
    return files.character_folder(AllowedFolders(), name)


router = APIRouter(prefix=ROOT)
# None of these without a character.
of_one = APIRouter(prefix=f"{ROOT}/c/{{name}}", dependencies=[Depends(_own_folder)])
_THUMBNAIL_PX = 256


@router.get("/", response_class=HTMLResponse)
def cards(runs: TheRuns) -> str:
    place = AllowedFolders()
    newest = {run.character: run for run in reversed(runs.latest())}
    results = {one.character: one for one in reversed(published_in(Path(place.out)))}
    made = [_card(place, folder, newest.get(folder.name), results.get(folder.name)) for folder in place.characters]
    return page("characters", cards=made, odd=place.odd_folders, here="characters")


@router.post("/characters")
def new(said: Said) -> Answer:
    name = str(said.get("name", "")).strip()
    if fault := name_fault(name):
        raise UserError(fault)
    (AllowedFolders().folder / CHARACTERS / name).mkdir(parents=True, exist_ok=True)
    return {"go": f"{ROOT}/c/{quoted(name)}"}


@of_one.get("", response_class=HTMLResponse)
def one(name: str, runs: TheRuns, preset: str = "") -> str:
    place = AllowedFolders()
    own, folder = _own_folder(name), files.pictures_folder(place, name)
    source = "" if folder == own else str(folder)
    return page(
        "character", name=name, preset=preset or DEFAULT_PRESET, here="characters", source=source,
        presets=sorted(path.stem for path in (place.folder / PRESETS).glob("*.toml")),
        sources=sorted({*files.source_folders(place), source} - {""}), pictures=files.screenshots(folder),
        runs=runs.of(name)[:5], results=published_in(Path(place.out), name), endings=",".join(MEANT_BY),
    )  # fmt: skip


@of_one.get("/sheet", response_class=HTMLResponse)
def sheet(name: str, helper: TheHelper, preset: str = "") -> str:
    return str(helper.ask("sheet", name, preset))


@of_one.get("/options", response_class=HTMLResponse)
def options(name: str, preset: str = "") -> str:
    groups = options_of(name, preset)
    return page("options", name=name, preset=preset, main=groups.pop("main"), rest=groups)


@of_one.put("/pictures/{path:path}")
async def upload(name: str, path: str, request: Request) -> Answer:
    await files.take_upload(_own_pictures(name), path, request.stream())
    return {}


@of_one.delete("/pictures/{path:path}")
def remove(name: str, path: str) -> Answer:
    files.remove_picture(_own_pictures(name), path)
    return {}


@of_one.get("/thumbnails/{path:path}")
def thumbnail(name: str, path: str) -> Response:
    file = files.inside(files.pictures_folder(AllowedFolders(), name), path)
    return Response(_small(file, file.stat().st_mtime_ns), media_type="image/jpeg", headers=KEEP)


@of_one.post("/start")
def start(name: str, said: Said, runs: TheRuns) -> Answer:
    recipe_of(AllowedFolders(), name, preset=said["preset"])  # a mistake is told here, not by a failed run
    run = runs.start({"character": name, "preset": said["preset"]})
    return {"go": f"{ROOT}/r/{run}"}


@of_one.post("/options")
def change(name: str, said: Said) -> Answer:
    set_options(name, said.pop("preset"), said)
    return {}


@of_one.post("/caption")
def caption(name: str, said: Said, helper: TheHelper) -> Answer:
    helper.ask("set_caption", name, said["preset"], said["picture"], said["text"], said["seen"])
    return {}


@of_one.post("/composition")
def composition(name: str, said: Said, helper: TheHelper) -> Answer:
    helper.ask("set_composition", name, said["preset"], said["picture"], said["composition"])
    return {}


def _own_pictures(name: str) -> Path:
    """A character's own folder, if its pictures lie there: what lies elsewhere is not the page's to change."""
    own, folder = _own_folder(name), files.pictures_folder(AllowedFolders(), name)
    if folder != own:
        raise DatasetError(f"{name}: its pictures come from {folder}; change them there, or choose its own folder")
    return own


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
    seen = run.since.timestamp() if run and run.since else 0
    new = sum((source / path).stat().st_mtime > seen for path in pictures) if run and not run.is_open else 0
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
