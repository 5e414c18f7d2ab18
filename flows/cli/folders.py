"""`headcanon preprocess`, `tag` and `caption`: folders of pictures, without Prefect."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lora_core.store import Store

Source = Annotated[Path, typer.Argument(help="A folder of pictures. It is never written to.")]
StoreFolder = Annotated[
    Path, typer.Option("--store", help="Folder of what was computed before, so that it is not done twice.")
]


def preprocess(
    src: Source,
    dst: Annotated[Path, typer.Argument(help="Folder for the square pictures and report.json.")],
    size: Annotated[int, typer.Option(min=64, max=4096, help="Side in pixels.")] = 1024,
    alpha: Annotated[str, typer.Option(help="detect, straight or premultiplied.")] = "detect",
    background: Annotated[str, typer.Option(help="Colour behind transparent pixels.")] = "#ffffff",
    store: StoreFolder = Path(".headcanon"),
) -> None:
    """Screenshots to square pictures on white, with a reason for each one left out.

    Example: headcanon preprocess screenshots/ pictures/
    """
    from pydantic import ValidationError

    from lora_core.errors import RecipeError
    from lora_core.images.collect import collect
    from lora_core.images.export import write_pictures
    from lora_core.images.pipeline import preprocess as process
    from lora_core.recipe import Preprocess
    from lora_core.recipe_file import explain
    from lora_core.store import Store
    from tasks.runtime import progress

    try:
        options = Preprocess.model_validate({"size": size, "alpha": alpha, "background": background})
    except ValidationError as error:
        raise RecipeError(f"preprocess: {explain(error, Preprocess)}") from None
    kept = Store(store)
    with progress("preprocess", "image") as listen:
        manifest = process(kept, collect(kept, src), options, listen)
    write_pictures(kept, manifest, dst)
    for one in manifest.rejected:
        typer.echo(f"left out {one.source}: {one.reason}")
    typer.echo(f"{len(manifest.entries)} pictures in {dst}, {len(manifest.rejected)} left out (report.json says why)")


def tag(
    src: Source,
    model: Annotated[str, typer.Option(help="Folder with model.onnx and selected_tags.csv, or a hub repository.")],
    out: Annotated[Path, typer.Option(help="File for the raw scores.")] = Path("tags.json"),
    revision: Annotated[str, typer.Option(help="For a hub repository: the commit.")] = "",
    store: StoreFolder = Path(".headcanon"),
) -> None:
    """What a WD14 tagger sees in every picture, as raw scores.

    Example: headcanon tag pictures/ --model wd-v1-4-swinv2-tagger-v2/ --out tags.json
    """
    from lora_core.hub import find_tagger_files
    from lora_core.images.collect import collect
    from lora_core.store import Store
    from lora_core.tagging.files import write_tags
    from lora_core.tagging.wd14 import tag as read
    from tasks.runtime import progress

    files = find_tagger_files(model, revision)
    kept = Store(store)
    manifest = collect(kept, src)
    with progress("tag", "image") as listen:
        write_tags(read(kept, manifest, files, listen), out)
    typer.echo(f"{len(manifest.entries)} pictures in {out}")


@contextmanager
def _passing_store() -> Iterator["Store"]:
    """A store for a command whose results are all in its output folder."""
    from lora_core.store import Store

    with tempfile.TemporaryDirectory(prefix="headcanon-") as folder:
        yield Store(Path(folder))


def caption(
    src: Source,
    tags: Annotated[Path, typer.Option(help="What `headcanon tag` wrote.")],
    rules: Annotated[Path, typer.Option(help="A captions.toml.")],
    out: Annotated[Path, typer.Option(help="Folder for pictures and .txt files.")],
    threshold: Annotated[float, typer.Option(min=0.01, max=0.99, help="Least probability of a tag.")] = 0.5,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say for every tag that went or came which rule did it.")
    ] = False,
) -> None:
    """The six caption edits: a folder of pictures with .txt files that leave out what the character is.

    Example: headcanon caption pictures/ --tags tags.json --rules captions.toml --out dataset/
    """
    from lora_core.captions.caption import caption as edit
    from lora_core.captions.exchange import write_folder
    from lora_core.captions.explain import lines
    from lora_core.captions.rules import read_rules
    from lora_core.images.collect import collect
    from lora_core.tagging.files import read_tags

    edits = read_rules(rules)
    with _passing_store() as kept:
        captioned, edited = edit(collect(kept, src), read_tags(tags), edits, edits.trigger, threshold)
        write_folder(kept, captioned, out, trigger=edits.trigger)
    for one in edited if explain else ():
        typer.echo("\n".join(lines(one)))
    typer.echo(f"{len(captioned.entries)} pictures with captions in {out}")
