"""`headcanon compare`: several recipes side by side in one report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import echo

if TYPE_CHECKING:
    from lora_core.recipe import Recipe
    from lora_core.report.compare import Variant


def compare(
    recipes: Annotated[list[Path], typer.Argument(help="Two or more recipe.toml files.")],
    out: Annotated[Path, typer.Option(help="The page that is written.")] = Path("compare.html"),
) -> None:
    """Run several recipes, or find them finished, and put what came of them side by side.

    Each is run up to its verdict; checks that it misses are told and end nothing. Recipes in which only `method`
    differs share everything else: screenshots, captions, the style LoRA.

    Example: headcanon compare naive.toml captions-only.toml redraw.toml --out compare.html
    """
    from lora_core.errors import RecipeError
    from lora_core.recipe_file import read_recipe
    from lora_core.report.compare import render_comparison
    from lora_core.store.files import write_atomically
    from lora_core.store.outputs import check_out_file

    if len(recipes) < 2:
        raise RecipeError("compare: give two recipes or more; `headcanon run` makes the report of one")
    check_out_file(out)
    read = [read_recipe(path) for path in recipes]
    variants = [_variant(name, recipe) for name, recipe in zip(_names(recipes), read, strict=True)]
    write_atomically(out.absolute(), render_comparison(variants).encode())
    echo(f"Wrote {out}")


def _variant(name: str, recipe: "Recipe") -> "Variant":
    """One recipe, run or found; one that ends with an error is shown with it."""
    from flows.ending import run_by_command
    from flows.graph import make_lora
    from lora_core.errors import HeadcanonError
    from lora_core.recipe import Gates, in_words
    from lora_core.report.compare import Variant, variant
    from tasks.runtime import RunContext, console, say
    from tasks.terminal import styled

    console.print(styled("\n", (name, "bold")))
    what = f"Method {in_words(recipe)}"
    shares = {"style_share": recipe.gates.style_share, "merge_share": recipe.gates.merge_share}
    gates = Gates.model_validate({"style": "off", "merge": "off", "captions": "off", "epoch": "off", **shares})
    # Nothing is published, so no output folder is in the way.
    nowhere = recipe.runtime.model_copy(update={"out": str(Path(recipe.runtime.store) / "compare")})
    told = recipe.model_copy(update={"gates": gates, "runtime": nowhere})
    at = RunContext.of(recipe)
    try:
        with run_by_command():
            made = make_lora(told, at, "judge")
    except HeadcanonError as error:
        reason = " ".join(str(error).split())
        say(f"{name}: {reason}", mark="!")
        return Variant(name=name, what=what, reason=f"Failed: {reason}")
    return variant(at.open_store(), name, what, made.samples, made.verdict, made.checks)


def _names(recipes: list[Path]) -> list[str]:
    """The files' names, with their folders where two are called alike."""
    stems = [path.stem for path in recipes]
    return stems if len({*stems}) == len(stems) else [f"{path.absolute().parent.name}/{path.stem}" for path in recipes]
