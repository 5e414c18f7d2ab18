"""`headcanon preprocess` and `tag`: folders of pictures, without Prefect."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.echo import echo

Source = Annotated[Path, typer.Argument(help="A folder of pictures. It is never written to.")]
StoreFolder = Annotated[
    Path, typer.Option("--store", help="Folder of what was computed before, so that it is not done twice.")
]


def preprocess(
    src: Source,
    dst: Annotated[Path, typer.Argument(help="Folder for the square pictures, report.json and contact sheets.")],
    recipe: Annotated[Path | None, typer.Option(help="Take [preprocess] and [plan] from this recipe.toml.")] = None,
    size: Annotated[int | None, typer.Option(help="Side in pixels. [default: 1024]")] = None,
    alpha: Annotated[str | None, typer.Option(help="detect, straight or premultiplied. [default: detect]")] = None,
    background: Annotated[str | None, typer.Option(help="Colour behind transparent pixels. [default: #ffffff]")] = None,
    tagger: Annotated[
        str, typer.Option(help="Let this tagger read views, and compositions that nobody says: as --model of tag.")
    ] = "",
    revision: Annotated[str, typer.Option(help="For a tagger in a hub repository: the commit.")] = "",
    store: StoreFolder = Path(".headcanon"),
) -> None:
    """Screenshots to square pictures on white, with a reason for each one left out.

    Run it again after adding screenshots: only the new ones are worked on, and DST is brought up to date.

    Example: headcanon preprocess screenshots/ pictures/ --tagger wd-v1-4-swinv2-tagger-v2/
    """
    from flows.cli.picture_set import prepare, tell
    from lora_core.images.export import write_pictures
    from lora_core.report.contact_sheet import sheet_files
    from lora_core.store import Store

    changes = {"size": size, "alpha": alpha, "background": background}
    kept = Store(store)
    kept.hold()
    prepared = prepare(kept, src, dst, recipe, {name: value for name, value in changes.items() if value is not None})
    if tagger:
        prepared = prepared.settled(kept, tagger, revision)
    sheets = sheet_files(kept, prepared.manifest, prepared.plan, src.absolute().name)
    write_pictures(kept, prepared.manifest, dst, prepared.plan, sheets)
    tell(prepared, dst)


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
    from lora_core.captions.content import check_tagger
    from lora_core.hub import find_tagger_files
    from lora_core.images.collect import collect
    from lora_core.store import Store
    from lora_core.tagging.select import write_tags
    from lora_core.tagging.tag import tag as read
    from tasks.runtime import progress

    files = find_tagger_files(model, revision)
    check_tagger(files, {}, model)
    kept = Store(store)
    kept.hold()
    manifest = collect(kept, src)
    with progress("tag", "image") as listen:
        write_tags(read(kept, manifest, files, listen), out)
    echo(f"{len(manifest.entries)} pictures in {out}")
