"""`headcanon run`, `new` and `demo`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import echo
from lora_core.methods import FIRST, Method
from tasks.steps import Until

if TYPE_CHECKING:
    from lora_core.recipe import Recipe
    from tasks.runtime import RunContext


def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe.toml; `headcanon new DIR` writes one to start from.")],
    out: Annotated[Path | None, typer.Option(help="Output folder, instead of the recipe's.")] = None,
    until: Annotated[
        Until, typer.Option(metavar="STEP", help="Stop after this step (a name as in --dry-run).")
    ] = "publish",
    force: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP", help="Do this step again (a name as in --dry-run). May be repeated."),
    ] = None,
    version: Annotated[
        str, typer.Option("--as", metavar="VERSION", help="Publish as NAME-VERSION, such as v2; the earlier one stays.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Print the plan, after a few steps that measure this machine's pace.")
    ] = False,
) -> None:
    """Train a character LoRA without the 3D look from your own screenshots.

    It can be stopped and killed at any time: run the same command to resume.

    Examples:

      headcanon run recipe.toml --dry-run      what would be done, and what is cached

      headcanon run recipe.toml --probe      the same with hours, measured in a few steps

      headcanon run recipe.toml --until caption      captions, but no training

      headcanon caption recipe.toml --explain      show the captions

      headcanon run recipe.toml --force tag      tag again
    """
    if dry_run or probe:
        wanted = _checked(recipe, out, version)
        from flows.cli.plan import show_plan

        show_plan(wanted, with_probe=probe)
        return
    execute(recipe, out, until, tuple(force or ()), version)


def execute(
    recipe_file: Path, out: Path | None, until: Until = "publish", force: tuple[str, ...] = (), version: str = ""
) -> None:
    """Read a recipe, check what can be checked at once, then run the graph."""
    recipe = _checked(recipe_file, out, version)

    from flows.private_server import start_private_server

    start_private_server()  # while everything else is imported
    from flows.ending import run_by_command
    from flows.graph import make_lora
    from lora_core.report.publish import published_name
    from tasks.runtime import console
    from tasks.terminal import styled

    at = _at(recipe, force)
    with run_by_command():
        published = make_lora(recipe, at, until).folder
    if published:
        folder, name = Path(published), published_name(recipe)
        console.print(
            styled(
                ("\nDone.", "bold green"),
                f" Look at {folder / 'report.html'}\n{folder / f'{name}.safetensors'} goes into models/Lora; prompt: "
                f"<lora:{name}:{_weight(folder, name)}> {recipe.trigger}",
            ),
            soft_wrap=True,
        )  # fmt: skip
    else:
        console.print(
            f"\nStopped after {until}, as asked. Run the same command without --until to continue.", highlight=False
        )


def _weight(folder: Path, name: str) -> str:
    """The weight that was chosen, as the published folder tells web UIs."""
    return f"{json.loads((folder / f'{name}.json').read_text('utf-8'))['preferred weight']:g}"


def _at(recipe: "Recipe", force: tuple[str, ...]) -> "RunContext":
    from pydantic import ValidationError

    from lora_core.errors import RecipeError
    from tasks.runtime import RunContext

    try:
        return RunContext.of(recipe, force)
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"--force {first['input']}: {first['msg'].lower()}") from None


def _with_out(recipe: "Recipe", out: Path | None, version: str) -> "Recipe":
    """The recipe with what the command line says of the output.

    Raises:
        RecipeError: the version is no part of a file name.
    """
    from pydantic import ValidationError

    from lora_core.errors import RecipeError

    changes: dict[str, object] = {}
    if out is not None:
        changes["runtime"] = recipe.runtime.model_copy(update={"out": str(out.absolute())})
    if version:
        try:
            changes["publish"] = type(recipe.publish).model_validate(
                {**recipe.publish.model_dump(), "version": version}
            )
        except ValidationError:
            raise RecipeError(f"--as {version}: letters, digits, '.', '_' and '-' only, such as v2") from None
    return recipe.model_copy(update=changes)


def _checked(recipe_file: Path, out: Path | None, version: str) -> "Recipe":
    """The recipe. A slip in a path should not cost a minute of start-up: look before Prefect is even imported."""
    from lora_core.captions import content
    from lora_core.captions.content import check_tagger, words_of
    from lora_core.captions.rule_file import rules_for
    from lora_core.diffusion.read import read_source
    from lora_core.diffusion.source import refuse_without_vae
    from lora_core.hub import find_model_files, find_tagger_files
    from lora_core.images.collect import list_pictures
    from lora_core.recipe_file import read_recipe
    from lora_core.store.outputs import check_out_folder

    recipe = _with_out(read_recipe(recipe_file), out, version)
    for written in (Path(recipe.runtime.out) / recipe.name, Path(recipe.runtime.store)):
        check_out_folder(written)
    for folder in (*recipe.style.folders, *recipe.character.folders):
        list_pictures(Path(folder))
    rules = rules_for(recipe.captions, recipe.trigger, recipe.wardrobe)
    content.check((), words_of(recipe, rules))
    base = find_model_files(recipe.base.model, recipe.base.revision, recipe.base.vae)
    refuse_without_vae(read_source(base, recipe.base.process))
    check_tagger(find_tagger_files(recipe.tagger.model, recipe.tagger.revision), base, recipe.tagger.model)
    return recipe


def new(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet, or is empty.")],
    method: Annotated[
        Method, typer.Option(help="How the character is learned (docs/method.md); can be changed in the recipe.")
    ] = FIRST.method,
    base: Annotated[
        str,
        typer.Option(metavar="MODEL", help="Your base model: a file, a diffusers folder, or owner/name@COMMIT."),
    ] = "",
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="The base's family (docs/bases.md), where the file does not tell it.")
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A config of sd-scripts or kohya_ss (.toml, .json) or OneTrainer."),
    ] = None,
) -> None:
    """Start a project: a commented recipe and folders for screenshots.

    With --base the recipe has numbers that fit this model, each with its reason.

    Examples:

      headcanon new my-character --base models/illustriousXL_v01.safetensors

      headcanon new my-character --base models/my-merge.safetensors --preset pony

      headcanon new my-character --method difference

      headcanon new my-character --from kohya.toml --method captions-only
    """
    from flows.cli.scaffold import write_new
    from lora_core.recipe_import import read_config

    taken = read_config(config) if config else None
    if not base and taken and Path(str(taken.settings.get("base.model", ""))).is_file():
        base = str(taken.settings["base.model"])
    if base:
        from flows.cli.fitting import fit

        echo(write_new(folder, method, fit(base, preset), taken))
    else:
        from lora_core.errors import RecipeError

        if preset:
            raise RecipeError(f"--preset {preset}: it fits a base model; name yours with --base FILE")
        echo(write_new(folder, method, taken=taken))


def demo(
    out: Annotated[Path, typer.Option(help="Where the demo's screenshots, recipe and results go.")] = Path("out"),
) -> None:
    """Run the whole method on a drawn demo world: no GPU, no downloads.

    Draws 3D screenshots of a character, then runs the very recipe it leaves in OUT/demo/recipe.toml. Run it again:
    everything is cached. Edit the recipe or add a screenshot, and only the steps that depend on it run again.

    Example: headcanon demo --out out
    """
    from demo.project import write_project

    execute(write_project(out / "demo", Path(".headcanon")), out)
