"""What `headcanon preprocess` does and says."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from flows.cli.remarks import remarks, some
from flows.cli.tables import coverage_table
from lora_core.dataset import Manifest
from lora_core.errors import RecipeError
from lora_core.images.collect import REPORT_NAME, collect, refuse_inside
from lora_core.images.composition import settle
from lora_core.images.coverage import coverage
from lora_core.images.pipeline import preprocess
from lora_core.recipe import Preprocess, ShotPlan
from lora_core.recipe_file import explain, read_recipe
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


def prepare(store: Store, src: Path, dst: Path, recipe: Path | None, changes: Mapping[str, object]) -> PictureSet:
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
        read = read_recipe(recipe)
        options, plan = read.preprocess, read.plan
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
