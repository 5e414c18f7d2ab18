"""Tables for the terminal."""

from rich.table import Table

from lora_core.images.coverage import CompositionCounts, Coverage, signed


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
