"""What `headcanon caption` prints."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import typer

from flows.cli.echo import echo
from lora_core.captions.caption import frequency_rows, lines, rare
from lora_core.captions.check import MOST_TOKENS, Finding, gathered
from lora_core.captions.edit import Edited
from lora_core.captions.exchange import Edits
from lora_core.captions.suggest import Suggestion
from lora_core.captions.tags import caption_text, spaced
from lora_core.errors import CaptionError

_COLOURS = {"−": "red", "+": "green"}


def suggestion(found: Suggestion, path: Path, *, for_recipe: bool) -> None:
    """What is probably the character, what is doubtful, and what to do with the file."""
    for title, candidates in (("Probably the character", found.traits), ("Doubtful", found.doubtful)):
        if candidates:
            echo(f"{title}:")
        for one in candidates:
            echo(f"  {one.tag:<24} {one.family:<18} {one.figure}")
    echo(f"Wrote {path}. Read it: what is the character's goes under memorize, its clothes under outfit.")
    if for_recipe:
        echo(f'Name it in the recipe: [captions] rules = "{path.name}"')


def stories(edited: Sequence[Edited], trigger: str, count_tokens: Callable[[str], int]) -> None:
    """Every caption before and after, then how often each tag was there before and is there now."""
    tokens = [count_tokens(caption_text(one.tags, trigger)) for one in edited]
    for one, count in zip(edited, tokens, strict=True):
        for line in lines(one, trigger, count):
            typer.secho(line, fg=_COLOURS.get(line.lstrip()[:1]))
        echo()
    few = rare(edited)
    echo(f"{'tag':<28} {'before':>7} {'after':>7}")
    for tag, before, after in frequency_rows(edited):
        counts = f"{tag if tag == trigger else spaced(tag):<28} {before or '–':>7} {after or '–':>7}"
        echo(f"{counts}  {', '.join(few.get(tag, ()))}".rstrip())
    echo(f"\nTokens a caption: {min(tokens)} to {max(tokens)} ({MOST_TOKENS} are read)")


def findings(found: Iterable[Finding]) -> None:
    """One line a matter."""
    for finding in gathered(found):
        typer.secho(f"{'✗' if finding.fails else '!'} {finding}", fg="red" if finding.fails else "yellow")


def conclusion(found: Iterable[Finding], captions: int) -> None:
    """What a check came to.

    Raises:
        CaptionError: something fails, so that the command ends with exit status 2.
    """
    failing = {finding.where for finding in found if finding.fails}
    if failing:
        raise CaptionError(f"{len(failing)} of {captions} captions fail the check; the lines above say why")
    echo(f"{captions} captions checked, none fails")


def hand_edits(edits: Mapping[str, Edits], captions: int, strangers: Sequence[str], rule_file: Path) -> None:
    """What was edited by hand, and texts that belong to no picture."""
    for name, one in edits.items():
        echo(name)
        for mark, tags in (("+", one.added), ("−", one.removed)):
            if tags:
                typer.secho(f"  {mark} {', '.join(spaced(tag) for tag in tags)}", fg=_COLOURS[mark])
    for stranger in strangers:
        echo(f"! {stranger}.txt: there is no picture of this name; not used")
    where = f"; written to {rule_file}" if edits else ""
    echo(f"{len(edits)} of {captions} captions were edited by hand{where}")


def written(captions: int, out: Path) -> None:
    """Where the folder is."""
    echo(f"{captions} pictures with captions in {out}")
