"""docs/proof.md from results.json: prose is the template's, every number and table the program's."""

import shutil
from io import BytesIO
from pathlib import Path
from typing import Final

import jinja2
from PIL import Image
from pydantic import ValidationError

from demo.proof import tables
from demo.proof.arms import CORE, NAIVE, NOTE
from demo.proof.evaluate import IDENTITY_MARGIN, MOST_LEAK
from demo.proof.gates import LEAST_SHARE
from demo.proof.measures import IDENTITY, LEAK, OBEDIENCE, PROBE
from demo.proof.output import RESULTS_FILE
from demo.proof.pairs import PAIRS
from demo.proof.results import Results
from demo.proof.scope import ABLATION_PAIRS, ABLATION_SEEDS, SEEDS
from lora_core.errors import RecipeError
from lora_core.judging.metrics import two_digits
from lora_core.store.files import replacing, write_atomically

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
_CHARTS: Final = ("identity-against-leak.png", "variants.png")
_OVERVIEW: Final = "overview.jpg"
_QUALITY: Final = 80


def write_docs(out: Path, docs: Path = DOCS) -> Path:
    """Write docs/proof.md, its pictures, and the figures that it was written from.

    Raises:
        RecipeError: there are no results in `out`, or they are another version's.
    """
    results = read_results(out / RESULTS_FILE)
    for name in (_OVERVIEW, *_sheets("sheet", results), *_sheets("variants", results)):
        if (picture := (out / name).with_suffix(".png")).is_file():
            _photo(picture, docs / "proof" / name)
    for name in (*_CHARTS, RESULTS_FILE):
        if (out / name).is_file():
            with replacing(docs / "proof" / name) as temporary:
                shutil.copyfile(out / name, temporary)
    page = docs / "proof.md"
    write_atomically(page, render(results, docs / "proof").encode())
    return page


def _sheets(kind: str, results: Results) -> tuple[str, ...]:
    """File names of sheets, in the order of the runs."""
    pairs = dict.fromkeys(run.partition(",")[0] for arm in results.arms for run in arm.runs)
    return tuple(f"{kind}-{pair}.jpg" for pair in pairs)


def _photo(path: Path, target: Path) -> None:
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


def render(results: Results, folder: Path) -> str:
    """The page as Markdown, with those of its pictures that are in the folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown of our own figures: nothing in it comes from a user
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(short=tables.short, number=two_digits)
    return environment.get_template("proof.md.j2").render(
        results=results,
        tables=tables,
        pictures=[name for name in (_OVERVIEW, *_CHARTS) if (folder / name).is_file()],
        sheets=[name for name in _sheets("sheet", results) if (folder / name).is_file()],
        variants=[name for name in _sheets("variants", results) if (folder / name).is_file()],
        core=[arm for arm in results.arms if arm.core],
        others=[arm for arm in results.arms if not arm.core],
        names={"naive": NAIVE, "note": NOTE, "core": CORE},
        whole={"pairs": len(PAIRS), "seeds": len(SEEDS)},
        runs={
            "done": sum(len(arm.runs) for arm in results.arms if arm.core),
            "all": len(CORE) * len(PAIRS) * len(SEEDS),
        },
        few={"pairs": min(ABLATION_PAIRS, len(results.setting.pairs)), "seeds": ABLATION_SEEDS},
        bounds={"leak": MOST_LEAK, "identity": IDENTITY_MARGIN, "gate": LEAST_SHARE},
        measures={"identity": IDENTITY, "leak": LEAK, "probe": PROBE, "obedience": OBEDIENCE},
    )
