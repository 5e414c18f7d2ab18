"""What `headcanon preprocess` does and says."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table

from lora_core.dataset import Manifest
from lora_core.errors import RecipeError
from lora_core.images.collect import REPORT_NAME, collect, refuse_inside
from lora_core.images.composition import settle
from lora_core.images.coverage import CompositionCounts, Coverage, coverage, signed
from lora_core.images.pipeline import preprocess
from lora_core.printable import some
from lora_core.recipe import Preprocess, Recipe, ShotPlan
from lora_core.recipe_file import explain
from lora_core.store import Store
from tasks.runtime import progress
from tasks.terminal import Terminal


@dataclass(frozen=True)
class PictureSet:
    """Square pictures, and how many of each composition there should be."""

    manifest: Manifest
    plan: ShotPlan

    def settled(self, store: Store, tagger: str, revision: str) -> "PictureSet":
        """The same with views, and with compositions where a tagger is sure.

        Args:
            store: where pictures and scores are.
            tagger: a folder, or a hub repository.
            revision: for a hub repository, the commit.
        """
        from lora_core.hub import find_tagger_files
        from lora_core.tagging.tag import tag

        files = find_tagger_files(tagger, revision)
        with progress("tag", "image") as listen:
            return replace(self, manifest=settle(self.manifest, tag(store, self.manifest, files, listen), {}))


def prepare(store: Store, src: Path, dst: Path, recipe: Recipe | None, changes: Mapping[str, object]) -> PictureSet:
    """Collect and preprocess a folder.

    Args:
        store: where pictures and their records are.
        src: the screenshots.
        dst: where they will be written; must not lie in `src`.
        recipe: whose options are taken; None: the defaults.
        changes: options that go before the recipe's.

    Raises:
        RecipeError: an option out of its bounds.
        DatasetError: nothing to work on, or `dst` lies in `src`.
    """
    options, plan = Preprocess(), ShotPlan()
    if recipe is not None:
        options, plan = recipe.preprocess, recipe.plan
    try:
        options = Preprocess.model_validate({**options.model_dump(), **changes})
    except ValidationError as error:
        raise RecipeError(f"preprocess: {explain(error, Preprocess)}") from None
    refuse_inside(dst, src, "the output")
    with progress("preprocess", "image") as listen:
        return PictureSet(preprocess(store, collect(store, src), options, listen), plan)


def tell(prepared: PictureSet, dst: Path) -> None:
    """Print what was left out, what to look at, and what there is of each composition."""
    manifest, console = prepared.manifest, Terminal()
    left_out = [one for one in manifest.rejected if not one.harmless or one.image]
    flagged = [entry for entry in manifest.entries if entry.flags]
    unknown = [entry.source for entry in manifest.entries if entry.composition is None and entry.view is None]
    for line in remarks(manifest):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(coverage_table(coverage(prepared.plan, {"pictures": manifest})))
    if unknown:
        how = "say it in composition.csv, by a sub-folder or the file name, or let --tagger read it"
        console.print(f"unknown: {some(unknown)}; {how}", highlight=False, markup=False, soft_wrap=True)
    others = len(manifest.rejected) - len(left_out)
    counts = (
        f"{_counted(len(manifest.entries), 'picture')} in {dst}",
        *([f"{len(flagged)} to look at"] if flagged else []),
        *([f"{len(left_out)} left out"] if left_out else []),
        *([_counted(others, "other file")] if others else []),
    )
    end = f"\n{', '.join(counts)}. sheets/ shows them, {REPORT_NAME} accounts for each."
    console.print(end, highlight=False, markup=False, soft_wrap=True)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# Of a thousand pictures with something each, only so many lines.
_MOST_LINES = 40


def remarks(manifest: Manifest) -> tuple[str, ...]:
    """What was left out, then what a person should look at: a line for each reason, with the files that it is about."""
    left_out = _gathered((one.reason, one.source) for one in manifest.rejected if one.image or not one.harmless)
    flagged = _gathered(("; ".join(entry.flag_texts), entry.source) for entry in manifest.entries if entry.flags)
    lines = (*_lines("left out", left_out), *_lines("look at", flagged))
    more = len(lines) - _MOST_LINES
    return (*lines[:_MOST_LINES], f"and {more} more lines of this kind") if more > 0 else lines


def _gathered(reasons: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Sources by reason."""
    found: dict[str, list[str]] = {}
    for reason, source in reasons:
        found.setdefault(reason, []).append(source)
    return found


def _lines(what: str, gathered: dict[str, list[str]]) -> Iterator[str]:
    return (f"{what} {some(sources)}: {reason}" for reason, sources in gathered.items())


def coverage_table(found: Coverage) -> Table:
    """What the sets have of each composition and view, in brackets how far from the plan, and how the sets differ."""
    two = len(found.sets) > 1
    table = Table(box=None, pad_edge=False, title="Compositions", title_justify="left")
    table.add_column("composition")
    for heading in ("planned", *found.sets, *(("difference",) if two else ())):
        table.add_column(heading, justify="right")
    for row in found.rows:
        planned = str(row.planned) if row.composition else ""
        difference = (signed(row.difference),) if two else ()
        table.add_row(row.composition or "unknown", planned, *_counts(row), *difference, style=_style(row))
        for view in row.views:
            difference = (signed(view.there[-1] - view.there[0]),) if two else ()
            table.add_row(f"  {view.view}", "", *map(str, view.there), *difference, style="dim")
    totals = [sum(counts) for counts in zip(*(row.there for row in found.rows), strict=True)]
    difference = (signed(totals[-1] - totals[0]),) if two else ()
    table.add_row("all", str(sum(row.planned for row in found.rows)), *map(str, totals), *difference)
    return table


def _counts(row: CompositionCounts) -> list[str]:
    if row.composition is None:
        return [str(count) for count in row.there]
    return [
        f"({signed(more)}) {count}" if more else str(count)
        for count, more in zip(row.there, row.against_plan, strict=True)
    ]


def _style(row: CompositionCounts) -> str:
    if row.composition is None or (row.planned and not all(row.there)):
        return "red"
    return "yellow" if min(row.against_plan) < 0 else ""
