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
from lora_core.disk import replacing, write_atomically
from lora_core.errors import RecipeError

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
_CHARTS: Final = ("identity-against-leak.png", "variants.png")
_SHEETS: Final = ("sheet", "variants")
_QUALITY: Final = 80


def write_docs(out: Path, docs: Path = DOCS) -> Path:
    """Write docs/proof.md and its pictures.

    Raises:
        RecipeError: there are no results in `out`, or they are another version's.
    """
    results = read_results(out / RESULTS_FILE)
    charts = [out / name for name in _CHARTS if (out / name).is_file()]
    overview, sheets, variants = (
        [_photo(path, docs / "proof") for name in names if (path := out / name).is_file()]
        for names in (["overview.png"], *([f"{kind}-{pair}.png" for pair in _pairs(results)] for kind in _SHEETS))
    )
    for chart in charts:
        with replacing(docs / "proof" / chart.name) as temporary:
            shutil.copyfile(chart, temporary)
    pictures = [*overview, *(chart.name for chart in charts)]
    page = docs / "proof.md"
    write_atomically(page, render(results, pictures, sheets, variants).encode())
    return page


def _pairs(results: Results) -> tuple[str, ...]:
    """In the order of the runs."""
    return tuple(dict.fromkeys(run.partition(",")[0] for arm in results.arms for run in arm.runs))


def _photo(path: Path, folder: Path) -> str:
    """Write samples into the folder as JPEG, a third of the PNG, which stays in `out`; returns the name."""
    with Image.open(path) as picture:
        buffer = BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    target = folder / f"{path.stem}.jpg"
    write_atomically(target, buffer.getvalue())
    return target.name


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


def render(results: Results, pictures: list[str], sheets: list[str], variants: list[str]) -> str:
    """The page as Markdown."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown of our own figures: nothing in it comes from a user
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(short=tables.short, number=tables.number)
    return environment.get_template("proof.md.j2").render(
        results=results,
        tables=tables,
        pictures=pictures,
        sheets=sheets,
        variants=variants,
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
