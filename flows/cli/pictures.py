"""`headcanon preprocess` and `tag`: folders of pictures, without Prefect."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import echo

Source = Annotated[Path, typer.Argument(help="A folder of pictures. It is never written to.")]
StoreFolder = Annotated[Path, typer.Option("--store", help="Folder of cached results.")]


def preprocess(
    src: Source,
    dst: Annotated[Path, typer.Argument(help="Folder for the square pictures, report.json and contact sheets.")],
    recipe: Annotated[Path | None, typer.Option(help="Take [preprocess] and [plan] from this recipe.toml.")] = None,
    size: Annotated[int | None, typer.Option(help="Side in pixels. [default: 1024]")] = None,
    alpha: Annotated[
        str | None, typer.Option(help="detect, straight, premultiplied or ignore. [default: detect]")
    ] = None,
    background: Annotated[str | None, typer.Option(help="Colour behind transparent pixels. [default: #ffffff]")] = None,
    tagger: Annotated[
        str, typer.Option(help="Tagger (as --model of tag) that reads views, and compositions that are not named.")
    ] = "",
    revision: Annotated[str, typer.Option(help="For a tagger in a hub repository: the commit.")] = "",
    store: Annotated[
        Path | None, typer.Option("--store", help="Folder of cached results. [default: the recipe's, else .headcanon]")
    ] = None,
) -> None:
    """Make square pictures on white from screenshots, with a reason for each one left out.

    Run it again after adding screenshots: only the new ones are worked on, and DST is brought up to date.

    Example: headcanon preprocess screenshots/ pictures/ --tagger wd-v1-4-swinv2-tagger-v2/
    """
    from flows.cli.picture_set import prepare, tell
    from lora_core.images.export import write_pictures
    from lora_core.recipe_file import read_recipe
    from lora_core.report.contact_sheet import sheet_files
    from lora_core.store import open_store
    from lora_core.store.outputs import check_out_folder

    check_out_folder(dst)
    changes = {"size": size, "alpha": alpha, "background": background}
    read = read_recipe(recipe) if recipe else None
    kept = open_store(str(store or (read.runtime.store if read else ".headcanon")))
    kept.hold()
    prepared = prepare(kept, src, dst, read, {name: value for name, value in changes.items() if value is not None})
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
    """Tag every picture with a WD14 tagger; writes raw scores.

    Example: headcanon tag pictures/ --model wd-v1-4-swinv2-tagger-v2/ --out tags.json
    """
    from lora_core.captions.content import check_tagger
    from lora_core.hub import find_tagger_files
    from lora_core.images.collect import collect
    from lora_core.store import Store
    from lora_core.store.outputs import check_out_file
    from lora_core.tagging.select import write_tags
    from lora_core.tagging.tag import tag as read
    from tasks.runtime import progress

    check_out_file(out)
    files = find_tagger_files(model, revision)
    check_tagger(files, {}, model)
    kept = Store(store)
    kept.hold()
    manifest = collect(kept, src)
    with progress("tag", "image") as listen:
        write_tags(read(kept, manifest, files, listen), out)
    echo(f"{len(manifest.entries)} pictures in {out}")


def caption(
    src: Annotated[
        Path, typer.Argument(help="A folder of pictures, or a recipe.toml: its character. It is never written to.")
    ],
    tags: Annotated[Path | None, typer.Option(help="What `headcanon tag` wrote. Not needed with a recipe.")] = None,
    rules: Annotated[Path | None, typer.Option(help="A captions.toml. Read from the recipe if not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for pictures and .txt files.")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.01, max=0.99, help="Least probability of a tag: 0.5, or the recipe's.")
    ] = None,
    suggest: Annotated[bool, typer.Option("--suggest", help="Write a rule file to start from.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every caption before and after, and the rule that made each change.")
    ] = False,
    tag_: Annotated[
        str | None,
        typer.Option("--tag", metavar="TAG", help="Show one tag on every picture: its score, and why it went or came."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check the captions; exit status 2 if one fails.")] = False,
    import_: Annotated[
        Path | None,
        typer.Option("--import", metavar="FOLDER", help="Take .txt files edited by hand into the rule file."),
    ] = None,
    escape: Annotated[
        bool, typer.Option("--escape", help=r"Write brackets as \( \), for editors and web UIs that read weights.")
    ] = False,
    store: StoreFolder = Path(".headcanon"),
) -> None:
    """Make captions with the caption edits, which leave out the character's own features.

    Examples:

      headcanon caption pictures/ --tags tags.json --rules captions.toml --suggest

      headcanon caption pictures/ --tags tags.json --rules captions.toml --explain --out dataset/

      headcanon caption pictures/ --tags tags.json --rules captions.toml --import dataset/

      headcanon caption dataset/ --rules captions.toml --check      the .txt files in place

      headcanon caption recipe.toml --explain --check      the recipe's screenshots, tagged first if need be

      headcanon caption recipe.toml --tag pink_hair      why is it missing?
    """
    from flows.cli import caption_work
    from flows.cli.caption_set import Asked, open_set
    from lora_core.errors import CaptionError
    from lora_core.store.outputs import check_out_folder

    if out is not None:
        check_out_folder(out)
    asked = Asked(src, tags, rules, threshold, store, rules_needed=not suggest)
    if not (suggest or explain or tag_ or check or import_ or out):
        raise CaptionError("say what to do: --suggest, --explain, --tag TAG, --check, --import FOLDER or --out FOLDER")
    if suggest:
        caption_work.suggest_rules(asked)
    elif check and tags is None and not asked.is_recipe:
        caption_work.check_folder(asked)
    else:
        subject = open_set(asked)
        if import_ is not None:
            subject = caption_work.take_hand_edits(subject, import_)
        if tag_ is not None:
            caption_work.explain_tag(subject, tag_)
        if explain or check or import_ or out:
            caption_work.make_captions(subject, explain=explain, check=check)
        if out is not None:
            caption_work.write_captions(subject, out, escape=escape)
