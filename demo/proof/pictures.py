"""The proof's pictures: the chart, a sheet for every pair, and one overview."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Final

from PIL import Image

from demo.proof.arms import CORE, NOTE, RECOMMENDED
from demo.proof.charts import COLOURS, GREY, Beside, Point, Series, identity_against_leak, side_by_side
from demo.proof.measures import IDENTITY, LEAK
from demo.proof.results import ArmFigures, Results
from demo.proof.run import Outcome
from demo.proof.tables import MISSED
from lora_core.sampling.grid import Cell, contact_grid
from lora_core.sampling.samples import NO_LORA, Sample
from lora_core.store import Store

_SEEDS_SHOWN: Final = 2
_REFERENCES: Final = frozenset((RECOMMENDED, NOTE))
_OVERVIEW_PX: Final = 200
_DOWN_PX: Final = 140
_SHEET_PX: Final = 200  # samples are 128 px wide; the longest arm has its name in full
_ACROSS: Final = 8
"""Arms whose names fit above the overview's columns."""
_LABEL_LETTERS: Final = 24
_SCREENSHOT: Final = "3D screenshot"
_BASE: Final = "no LoRA"


def charts(results: Results) -> dict[str, Image.Image]:
    """File name → identity against leak: the core arms, and every other arm beside the one that it changes."""
    found = {}
    core = [arm for arm in results.arms if arm.core]
    if series := [_series(arm, COLOURS[k % len(COLOURS)]) for k, arm in enumerate(core)]:
        found["identity-against-leak.png"] = identity_against_leak(series, "The core arms, epoch by epoch")
    if variants := [one for arm in results.arms if not arm.core and (one := _beside(arm, results))]:
        found["variants.png"] = side_by_side(variants, "One thing changed")
    return found


def sheets(store: Store, outcomes: Sequence[Outcome]) -> dict[str, Image.Image]:
    """File name → a pair's samples at the last epoch, first training seed: the core arms beside one another."""
    found = {}
    for pair, ours in _by_pair(outcomes).items():
        core = {arm: outcome for arm, outcome in ours.items() if arm in CORE}
        if core:
            shots = _shots(core)
            found[f"sheet-{pair}.png"] = _grid(
                store,
                [(_scene(shot), f"seed {shot.seed}") for shot in shots],
                {name: [_found(samples, shot) for shot in shots] for name, samples in _columns(core).items()},
                _titled(core),
                _SHEET_PX,
            )
    return found


def variant_sheets(store: Store, outcomes: Sequence[Outcome]) -> dict[str, Image.Image]:
    """The same of every arm beside the core, below the recommended and the note's: arms down, prompts across."""
    found = {}
    for pair, ours in _by_pair(outcomes).items():
        arms = {arm: outcome for arm, outcome in ours.items() if arm in _REFERENCES or arm not in CORE}
        if set(arms) - _REFERENCES:
            shots = _shots(arms)
            every = _columns(arms)
            found[f"variants-{pair}.png"] = _grid(
                store,
                [(_described(name, arms), "") for name in every],
                {
                    f"prompt {shot.prompt_index + 1}, seed {shot.seed}": [
                        _found(samples, shot) for samples in every.values()
                    ]
                    for shot in shots
                },
                _titled(arms),
                _SHEET_PX,
            )
    return found


def _shots(arms: Mapping[str, Outcome]) -> list[Sample]:
    """What a sheet shows: every prompt with the first seeds."""
    one = next(iter(arms.values()))
    return [sample for sample in one.samples.of(NO_LORA) if sample.seed in _first_seeds(one)]


def _columns(arms: Mapping[str, Outcome]) -> dict[str, dict[tuple[int, int], Sample]]:
    """Samples without a LoRA, then each arm's, by prompt and seed."""
    one = next(iter(arms.values()))
    return {_BASE: _by_place(one.samples.of(NO_LORA)), **{arm: _last(outcome) for arm, outcome in arms.items()}}


def _titled(arms: Mapping[str, Outcome]) -> str:
    pair = next(iter(arms.values())).run.pair
    return f"{pair.target}, learned from {pair.style}'s look ({pair.finish}); last epoch"


def _described(name: str, arms: Mapping[str, Outcome]) -> str:
    return f"{name}: {arms[name].run.arm.title}" if name in arms else name


def overview(store: Store, outcomes: Sequence[Outcome], arms: Sequence[str]) -> Image.Image | None:
    """One row a pair: a screenshot that went in, then the same prompt and seed with each arm; many arms go down."""
    pairs = {pair: ours for pair, ours in _by_pair(outcomes).items() if set(arms) <= set(ours)}
    if not pairs:
        return None
    columns: dict[str, list[str]] = {name: [] for name in (_SCREENSHOT, _BASE, *arms)}
    rows = []
    for ours in pairs.values():
        one = ours[arms[0]]
        first = one.samples.of(NO_LORA)[0]
        rows.append((one.run.pair.target, _scene(first), f"seed {first.seed}"))
        columns[_SCREENSHOT].append(one.screenshot)
        columns[_BASE].append(first.image)
        for arm in arms:
            columns[arm].append(_found(_last(ours[arm]), first))
    title = "What went in, and what the base draws with each LoRA"
    if len(arms) > _ACROSS:
        down = {
            target: list(images)
            for (target, _, _), images in zip(rows, zip(*columns.values(), strict=True), strict=True)
        }
        return _grid(store, [(label_of(name), "") for name in columns], down, title, _DOWN_PX)
    return _grid(store, [(f"{target}: {scene}", seed) for target, scene, seed in rows], columns, title, _OVERVIEW_PX)


def trait_sheet(
    store: Store, screenshots: Sequence[str], arms: Mapping[str, Sequence[Sample]], title: str
) -> Image.Image:
    """Arms down; samples of the same prompts and seeds across, under screenshots."""
    rows = [(label_of(name), "") for name in (_SCREENSHOT, *arms)]
    columns = {
        f"{across[0].prompt_index + 1}, seed {across[0].seed}": [shot, *(one.image for one in across)]
        for shot, across in zip(screenshots, zip(*arms.values(), strict=True), strict=False)
    }
    return _grid(store, rows, columns, title, _DOWN_PX)


def label_of(name: str) -> str:
    """An arm's name in parts that fit beside a row: labels are broken at spaces alone."""
    if len(name) <= _LABEL_LETTERS:
        return name
    head, _, tail = name[:_LABEL_LETTERS].rpartition("-")
    return f"{head}- {tail}{name[_LABEL_LETTERS:]}" if head else name


def _series(arm: ArmFigures, colour: str) -> Series:
    points = tuple(
        Point(epoch.epoch, epoch.figures[LEAK], epoch.figures[IDENTITY])
        for epoch in arm.epochs
        if LEAK in epoch.figures and IDENTITY in epoch.figures
    )
    return Series(arm.name + MISSED * arm.misses_gates, colour, points)


def _beside(arm: ArmFigures, results: Results) -> Beside | None:
    """None: the arm it changes has not run where it has."""
    other = results.contrast(arm.name, arm.changes)
    if other is None:
        return None
    last = Point("", other.theirs[LEAK], other.theirs[IDENTITY])
    return Beside(_series(arm, COLOURS[2]), Series(other.against, GREY, (last,)))


def _by_pair(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Outcome]]:
    """Pair → arm → its outcome with the first training seed that there is."""
    found: dict[str, dict[str, Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.run.pair.name, {}).setdefault(outcome.run.arm.name, outcome)
    return found


def _last(outcome: Outcome) -> dict[tuple[int, int], Sample]:
    return _by_place(outcome.samples.of(outcome.samples.lora_files[-1][0]))


def _by_place(samples: Sequence[Sample]) -> dict[tuple[int, int], Sample]:
    return {(sample.prompt_index, sample.seed): sample for sample in samples}


def _found(samples: Mapping[tuple[int, int], Sample], like: Sample) -> str:
    return samples[like.prompt_index, like.seed].image


def _first_seeds(outcome: Outcome) -> tuple[int, ...]:
    return tuple(dict.fromkeys(sample.seed for sample in outcome.samples.samples))[:_SEEDS_SHOWN]


def _scene(sample: Sample) -> str:
    """The prompt without what all of them say."""
    parts = [part.strip() for part in sample.prompt.split(",")][1:]
    return ", ".join(part for part in parts if part not in ("1girl", "solo"))


def _grid(
    store: Store, rows: Sequence[tuple[str, str]], columns: Mapping[str, Sequence[str]], title: str, cell_px: int
) -> Image.Image:
    cells = (
        Cell(row=row, column=column, picture=_shown(store, image, cell_px))
        for column, images in enumerate(columns.values())
        for row, image in enumerate(images)
    )
    return contact_grid(rows, list(columns), cells, title)


def _shown(store: Store, image: str, cell_px: int) -> Image.Image:
    """A stored picture, all of them equally large: the world's samples are small, its screenshots are not."""
    with Image.open(BytesIO(store.get_bytes(image))) as picture:
        scale = cell_px / max(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
