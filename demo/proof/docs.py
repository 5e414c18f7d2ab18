"""docs/proof.md and its pages from results.json: prose is the templates', every number and table the program's."""

import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Final, get_args

import jinja2
from PIL import Image
from pydantic import ValidationError

from demo.proof import claims, forgetful, tables, variants
from demo.proof.arms import BEGUN, CORE, LONG_NAIVE, NAIVE, NOTE, PILOT, PLAIN, RECOMMENDED, read_arm
from demo.proof.coverage import EXPERIMENTS
from demo.proof.faint import FAINT_FILE, read_faint
from demo.proof.faint import table as faint_table
from demo.proof.former import beside
from demo.proof.gates import LEAST_SHARE
from demo.proof.hidden import HIDDEN_FILE, read_hidden
from demo.proof.hidden import sheet_names as hidden_sheets
from demo.proof.hidden import story as hidden_story
from demo.proof.hidden import table as hidden_table
from demo.proof.intervals import ALPHA
from demo.proof.measures import ADHERENCE, IDENTITY, LEAK, OTHERS, PROBE
from demo.proof.output import RESULTS_FILE
from demo.proof.results import Aside, Results
from lora_core.errors import RecipeError
from lora_core.judging.metrics import two_digits
from lora_core.store.files import replacing, write_atomically

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
UNKNOWN_FILE: Final = "unknown-look.json"
REDRAW_FILE: Final = "redraw.json"
STYLE_FILE: Final = "style.json"
PAGES: Final = {
    "proof.md": RESULTS_FILE,
    "proof/arms.md": RESULTS_FILE,
    "proof/unknown-look.md": UNKNOWN_FILE,
    "proof/redraw.md": REDRAW_FILE,
    "proof/style.md": STYLE_FILE,
    "proof/earlier.md": "earlier.json",
}
"""Page below docs → the file in docs/proof that it is made from."""
README_MARKS: Final = ("<!-- proof: written by python -m demo.proof --write-docs -->\n", "<!-- /proof -->\n")
_CHARTS: Final = ("identity-against-leak.png", "variants.png")
_OVERVIEW: Final = "overview.jpg"
_UNKNOWN_WORDS: Final = "unknown-look-words.jpg"
_WORDS_DRAWN: Final = "forgetful-look.png"
_PICTURES: Final = (_OVERVIEW, _UNKNOWN_WORDS, *(f"{aside}.jpg" for aside in get_args(Aside) if aside), *_CHARTS)
_QUALITY: Final = 80


def write_docs(out: Path, docs: Path = DOCS) -> Path:
    """Write docs/proof.md, what lies in docs/proof, and README's table; returns the page.

    Raises:
        RecipeError: there are no results in `out`, or they are another version's.
    """
    results = read_results(out / RESULTS_FILE)
    if aside := results.setting.aside:
        return _write_aside(out, docs, f"{aside}.json", {_OVERVIEW: f"{aside}.jpg", _WORDS_DRAWN: _UNKNOWN_WORDS})
    for name in (_OVERVIEW, *_sheets("sheet", results), *_sheets("variants", results)):
        if (picture := (out / name).with_suffix(".png")).is_file():
            photo(picture, docs / "proof" / name)
    for name in (*_CHARTS, RESULTS_FILE):
        if (out / name).is_file():
            with replacing(docs / "proof" / name) as temporary:
                shutil.copyfile(out / name, temporary)
    write_pages(docs)
    readme = docs.parent / "README.md"
    if readme.is_file():
        write_atomically(readme, with_table(readme.read_text("utf-8"), results).encode())
    return docs / "proof.md"


def _write_aside(out: Path, docs: Path, file: str, pictures: Mapping[str, str]) -> Path:
    """Write a page beside the proof's own, which sums it up; the page has its file's name."""
    for picture, name in pictures.items():
        if (drawn := (out / picture).with_suffix(".png")).is_file():
            photo(drawn, docs / "proof" / name)
    target, results = docs / "proof" / file, read_results(out / RESULTS_FILE)
    if target.is_file():
        results = beside(results, read_results(target))
    write_atomically(target, (results.model_dump_json(indent=2) + "\n").encode())
    write_pages(docs)
    return target.with_suffix(".md")


def write_pages(docs: Path = DOCS) -> None:
    """Write the pages from what lies in docs/proof."""
    for page, source in PAGES.items():
        if (docs / "proof" / source).is_file():
            write_atomically(docs / page, render(page, read_results(docs / "proof" / source), docs / "proof").encode())


def with_table(text: str, results: Results) -> str:
    """README with the short table between its marks; as it is, if it has none."""
    before, mark, rest = text.partition(README_MARKS[0])
    _, end, after = rest.partition(README_MARKS[1])
    return f"{before}{mark}{tables.short_table(results, CORE)}\n{end}{after}" if end else text


def _sheets(kind: str, results: Results) -> tuple[str, ...]:
    """File names of sheets, in the order of the runs."""
    pairs = dict.fromkeys(run.pair for arm in results.arms for run in arm.runs)
    return tuple(f"{kind}-{pair}.jpg" for pair in pairs)


def photo(path: Path, target: Path) -> None:
    """Write samples as JPEG, a third of the PNG, which stays where it is."""
    with Image.open(path) as picture:
        buffer = BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    write_atomically(target, buffer.getvalue())


def read_results(path: Path) -> Results:
    """What a proof wrote.

    Raises:
        RecipeError: there is no such file, or it is another version's.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RecipeError(f"{path}: there are no results; run `python -m demo.proof` first") from None
    except ValidationError as error:
        raise RecipeError(
            f"{path}: not results of this version ({error.error_count()} problems); run it again"
        ) from None


def render(page: str, results: Results, folder: Path) -> str:
    """A page as Markdown, with those of its pictures that are in the folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "pages"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown of our own figures: nothing in it comes from a user
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(short=tables.short, number=two_digits, percent=tables.percent_of)
    kept, faint = read_hidden(folder / HIDDEN_FILE), read_faint(folder / FAINT_FILE)
    unknown = results if results.setting.aside == forgetful.UNKNOWN_LOOK else None
    if not unknown and (folder / UNKNOWN_FILE).is_file():
        unknown = read_results(folder / UNKNOWN_FILE)
    return environment.get_template(f"{Path(page).name}.j2").render(
        results=results,
        tables=tables,
        claims=claims,
        unknown=unknown,
        pictures=[name for name in _PICTURES if (folder / name).is_file()],
        sheets=[name for name in _sheets("sheet", results) if (folder / name).is_file()],
        variants=[name for name in _sheets("variants", results) if (folder / name).is_file()],
        core=[arm for arm in results.arms if arm.core],
        others=[arm for arm in results.arms if not arm.core],
        names={
            "naive": NAIVE,
            "long_naive": LONG_NAIVE,
            "plain": PLAIN,
            "note": NOTE,
            "core": CORE,
            "recommended": RECOMMENDED,
            "pilot": PILOT,
            "wordless": forgetful.IN_QUESTION if unknown else ("merge-gentle", "merge-gentle-redraw"),
            "shown": [name for name in forgetful.ARMS if results.arm(name)],
            "aside": [name for name in variants.ARMS.get(results.setting.aside, ()) if results.arm(name)],
            "begun": BEGUN,
            "left": [name for name in variants.ARMS.get(results.setting.aside, ()) if not results.arm(name)],
            "gentle": variants.GENTLE,
            "whole": variants.WHOLE,
            "there": variants.ON_MERGED,
        },
        has_parts=(folder / REDRAW_FILE).is_file(),
        has_style=(folder / STYLE_FILE).is_file(),
        faint=faint_table(faint) if faint else "",
        hidden=hidden_table(kept) if kept else "",
        hidden_story=hidden_story(kept),
        hidden_sheets=[name for name in hidden_sheets() if (folder / name).is_file()],
        epochs=read_arm(RECOMMENDED).table["redraw"]["epochs"],
        dropped=[
            arm.name
            for arm in results.arms
            if not arm.core
            and arm.name not in variants.ON_MERGED
            and claims.cannot_win(results.contrast(arm.name, RECOMMENDED))
        ],
        alpha=ALPHA,
        experiments=EXPERIMENTS,
        gate=LEAST_SHARE,
        measures={"identity": IDENTITY, "leak": LEAK, "probe": PROBE, "adherence": ADHERENCE, "others": OTHERS},
    )
