"""`headcanon caption`: captions from rules, and everything about them that a person wants to see."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.folders import StoreFolder


def caption(
    src: Annotated[
        Path, typer.Argument(help="A folder of pictures, or a recipe.toml: its character. It is never written to.")
    ],
    tags: Annotated[Path | None, typer.Option(help="What `headcanon tag` wrote. A recipe needs none.")] = None,
    rules: Annotated[Path | None, typer.Option(help="A captions.toml. A recipe knows its own.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for pictures and .txt files.")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.01, max=0.99, help="Least probability of a tag: 0.5, or the recipe's.")
    ] = None,
    suggest: Annotated[bool, typer.Option("--suggest", help="Write a rule file to start from.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every caption before and after, and the rule behind every change.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Look for what is wrong; exit status 2 if something is.")
    ] = False,
    import_: Annotated[
        Path | None,
        typer.Option("--import", metavar="FOLDER", help="Take .txt files edited by hand into the rule file."),
    ] = None,
    escape: Annotated[
        bool, typer.Option("--escape", help=r"Write brackets as \( \), for editors and web UIs that read weights.")
    ] = False,
    store: StoreFolder = Path(".headcanon"),
) -> None:
    """The six caption edits: captions that leave out what the character is.

    Examples:

      headcanon caption pictures/ --tags tags.json --rules captions.toml --suggest

      headcanon caption pictures/ --tags tags.json --rules captions.toml --explain --out dataset/

      headcanon caption pictures/ --tags tags.json --rules captions.toml --import dataset/

      headcanon caption dataset/ --rules captions.toml --check      the .txt files, as they lie there

      headcanon caption recipe.toml --explain --check      a recipe knows the rest
    """
    from flows.cli import caption_work
    from flows.cli.caption_set import Asked, open_set
    from lora_core.errors import CaptionError

    asked = Asked(src, tags, rules, threshold, store, rules_needed=not suggest)
    if not (suggest or explain or check or import_ or out):
        raise CaptionError("say what to do: --suggest, --explain, --check, --import FOLDER or --out FOLDER")
    if suggest:
        caption_work.suggest_rules(asked)
    elif check and tags is None and not asked.is_recipe:
        caption_work.check_folder(asked)
    else:
        subject = open_set(asked)
        if import_ is not None:
            subject = caption_work.take_hand_edits(subject, import_)
        caption_work.make_captions(subject, explain=explain, check=check)
        if out is not None:
            caption_work.write_captions(subject, out, escape=escape)
