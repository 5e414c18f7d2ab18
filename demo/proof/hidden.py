"""Traits that no tag names: what each arm keeps of them, from the screenshots to the last LoRA's samples.

`python -m demo.proof.hidden --out DIR` reads what `python -m demo.proof --pairs rika-yuki … --out DIR` has finished; it
trains and draws nothing, and writes DIR/hidden.json and hidden.md. With --write-docs it writes docs/proof/hidden.json
too, and the page that shows it.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

from PIL import Image
from pydantic import TypeAdapter, ValidationError

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from demo.proof import scope
from demo.proof.arms import BEGUN, NAIVE, PICKED, PLAIN, RECOMMENDED, read_arm
from demo.proof.evaluate import run_figures
from demo.proof.intervals import Place, figure
from demo.proof.marks import (
    HIDDEN_TRAITS,
    MARKS_FILE,
    VISIBLE_IN,
    HiddenTrait,
    MarkProbe,
    load_marks,
    trait_probabilities,
)
from demo.proof.measures import IDENTITY, LEAK
from demo.proof.output import png
from demo.proof.pairs import MARKED_PAIRS, Pair
from demo.proof.pictures import trait_sheet
from demo.proof.results import as_lines
from demo.proof.run import Outcome, made_before, measured, store_of
from demo.proof.tables import short
from flows.artifacts import JudgedLora, RunArtifacts
from lora_core.dataset import Frozen, load_manifest
from lora_core.errors import RecipeError
from lora_core.judging.bootstrap import Score
from lora_core.judging.metrics import two_digits
from lora_core.redraw.choose import read_selection
from lora_core.sampling.samples import NO_LORA, Sample, load_samples
from lora_core.store import Store
from lora_core.store.files import write_atomically
from tasks.runtime import RunContext

HIDDEN_FILE: Final = "hidden.json"
SHOWN: Final = (NAIVE, RECOMMENDED, *BEGUN[1:])
"""Arms on the sheet of a character."""
ENOUGH: Final = 0.8
"""The share of a plain LoRA's trait that a method should keep."""
ARMS: Final = (
    *PLAIN, RECOMMENDED, "redraw-screenshots-10", "redraw-screenshots-20", "redraw-two-rounds", "redraw-own-word",
    "redraw-of-epochs-8", "captions-only-beside-redraw", *BEGUN, "redraw-denoise-0.5",
    "redraw-half-denoise-0.4", PICKED,
)  # fmt: skip
"""The plain LoRAs, the recommended arm, and what was tried to keep more."""
_SCREENSHOTS, _BEFORE, _DRAWN, _CHOSEN, _LAST = "screenshots", "before redrawing", "drawn anew", "chosen", "last LoRA"


class Kept(Frozen):
    """How much of a hidden trait one arm run has."""

    arm: str
    pair: str
    seed: int
    trait: HiddenTrait
    levels: dict[str, float]
    """Stage → mean probability in its pictures that can show it; redrawn ones of the last round."""
    rise: Score
    """Of the last LoRA's last epoch over the base's own pictures of the same prompts and seeds."""
    identity: float
    leak: float
    """Of the same epoch, over all its samples: what keeping the trait costs otherwise."""


class Reader:
    """Reads pictures of a store for one trait; each once."""

    def __init__(self, store: Store, probe: MarkProbe, trait: HiddenTrait) -> None:
        self._store, self._probe, self._trait = store, probe, trait
        self._known: dict[str, float] = {}

    def __call__(self, image: str) -> float:
        """How likely a picture shows the trait."""
        if image not in self._known:
            with Image.open(BytesIO(self._store.get_bytes(image))) as picture:
                self._known[image] = trait_probabilities(self._probe, [picture])[0][self._trait]
        return self._known[image]

    def mean(self, images: Iterable[str]) -> float:
        """The mean over pictures, rounded."""
        return round(fmean(map(self, images)), 3)


def kept(outcome: Outcome, made: RunArtifacts, store: Store, probe: MarkProbe) -> Kept:
    """Follow the trait through a finished run."""
    run = outcome.run
    trait = _trait(run.pair)
    read, framings = Reader(store, probe, trait), VISIBLE_IN[trait]
    levels = {_SCREENSHOTS: read.mean(_screenshots(store, made, framings))}
    for done in made.rounds:
        pictures = [one for one in read_selection(store, done.selected).pictures if one.scene.framing in framings]
        levels |= {
            _BEFORE: read.mean(one.image for one in _last_epoch(store, made.rounds[0].before, framings)),
            _DRAWN: read.mean(one.image for one in pictures),
            _CHOSEN: read.mean(one.image for one in pictures if one.code == "chosen"),
        }
    last = _last_epoch(store, made.last, framings)
    levels[_LAST] = read.mean(one.image for one in last)
    base = {(one.prompt_index, one.seed): one.image for one in load_samples(store, made.last.samples).of(NO_LORA)}
    rises = [read(one.image) - read(base[one.prompt_index, one.seed]) for one in last]
    rise = figure(rises, [Place(run.pair.name, run.seed, one.prompt_index, one.seed) for one in last])
    otherwise = run_figures(outcome).figures
    return Kept(
        arm=run.arm.name,
        pair=run.pair.name,
        seed=run.seed,
        trait=trait,
        levels=levels,
        rise=rise,
        identity=otherwise[IDENTITY],
        leak=otherwise[LEAK],
    )


def _trait(pair: Pair) -> HiddenTrait:
    return next(each for each in HIDDEN_TRAITS if each == pair.character.mark)


def _screenshots(store: Store, made: RunArtifacts, framings: Sequence[str]) -> list[str]:
    return [one.image for one in load_manifest(store, made.sets.squares).entries if one.composition in framings]


def _last_epoch(store: Store, judged: JudgedLora, framings: Sequence[str]) -> list[Sample]:
    """Samples of the last epoch whose prompt asks for a framing that can show the trait."""
    samples = load_samples(store, judged.samples)
    wanted = {each.replace("_", " ") for each in framings}
    return [one for one in samples.of(samples.lora_files[-1][0]) if wanted & set(one.prompt.split(", "))]


def table(found: Sequence[Kept]) -> str:
    """Markdown: a row an arm run, and beside it the share of what naive has there, if that surely has some of it."""
    naive = _learned_by_naive(found)
    stages = (_SCREENSHOTS, _BEFORE, _DRAWN, _CHOSEN, _LAST)
    heads = ("arm", "trait", *stages, "rise", "of naive's", "identity", "leak")
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for one in found:
        whole = naive.get((one.pair, one.seed))
        share = two_digits(one.rise.mean / whole) if whole else "–"
        levels = " | ".join(f"{one.levels[stage]:.2f}" if stage in one.levels else "–" for stage in stages)
        rise = short(one.rise)
        place, otherwise = f"{one.pair}, seed {one.seed}", f"{two_digits(one.identity)} | {two_digits(one.leak)}"
        lines.append(f"| {one.arm} | {one.trait} ({place}) | {levels} | {rise} | {share} | {otherwise} |")
    return "\n".join((*lines, ""))


def story(found: Sequence[Kept]) -> str:
    """In words, by rule: what is kept of every trait that the plain LoRA has surely learned. A paragraph a trait."""
    learned, lines, keeping = _learned_by_naive(found), [], list[set[str]]()
    for pair in dict.fromkeys(one.pair for one in found if one.arm == NAIVE):
        those = [one for one in found if one.pair == pair]
        trait = f"{pair.partition('-')[0]}'s {those[0].trait}"
        shares = _shares(those, learned)
        if not any((pair, one.seed) in learned for one in those):
            lines.append(f"- {trait}: `{NAIVE}` has not learned it for sure, so there is nothing to be kept.")
        elif (own := shares.pop(RECOMMENDED, None)) is not None:
            tried = "; ".join(
                f"`{arm}` {shares[arm].told}" for arm in sorted(shares, key=lambda arm: -shares[arm].share)
            )
            kept_of = f"of what `{NAIVE}` has with the same training seeds `{RECOMMENDED}` keeps {own.told}"
            lines.append(f"- {trait}: {kept_of}. Tried to keep more, the most first: {tried or 'nothing'}.")
            keeping.append({arm for arm, one in {RECOMMENDED: own, **shares}.items() if one.share >= ENOUGH})
    if keeping:
        enough = ", ".join(f"`{arm}`" for arm in ARMS if all(arm in those for those in keeping))
        lines.append(f"\n{two_digits(ENOUGH)} or more of each trait that `{NAIVE}` has learned: {enough or 'no arm'}.")
    return "\n".join(lines)


class _Share(NamedTuple):
    """Of naive's rise, over so many training seeds."""

    share: float
    seeds: int

    @property
    def told(self) -> str:
        """In a sentence."""
        return f"{two_digits(self.share)} ({self.seeds} {'seed' if self.seeds == 1 else 'seeds'})"


def _shares(those: Sequence[Kept], learned: Mapping[tuple[str, int], float]) -> dict[str, _Share]:
    """By arm that is no plain LoRA: its mean rise over naive's, of the seeds with which naive has surely learned it."""
    found = {}
    for arm in dict.fromkeys(one.arm for one in those if one.arm not in PLAIN):
        own = {(one.pair, one.seed): one.rise.mean for one in those if one.arm == arm}
        if shared := own.keys() & learned.keys():
            naive = fmean(learned[place] for place in shared)
            found[arm] = _Share(fmean(own[place] for place in shared) / naive, len(shared))
    return found


def _learned_by_naive(found: Sequence[Kept]) -> dict[tuple[str, int], float]:
    """By pair and training seed: the plain LoRA's rise, where it is surely one."""
    return {(one.pair, one.seed): one.rise.mean for one in found if one.arm == NAIVE and one.rise.low > 0}


def read_hidden(path: Path) -> list[Kept]:
    """What was read before; nothing where nothing was.

    Raises:
        RecipeError: they are another version's rows.
    """
    try:
        return TypeAdapter(list[Kept]).validate_json(path.read_bytes()) if path.is_file() else []
    except ValidationError:
        raise RecipeError(
            f"{path}: not rows of this version; remove it and run `python -m demo.proof.hidden --write-docs` again"
        ) from None


def merged(before: Sequence[Kept], now: Sequence[Kept]) -> list[Kept]:
    """What was read before and now, by pair, seed and arm: an arm run again gives the same figures, so a row may stay
    where its pictures are gone."""
    rows = {(one.pair, one.seed, one.arm): one for one in (*before, *now)}
    pairs = [pair.name for pair in MARKED_PAIRS]
    return sorted(rows.values(), key=lambda one: (pairs.index(one.pair), one.seed, ARMS.index(one.arm)))


def sheet_names() -> tuple[str, ...]:
    """In docs/proof, of every character with such a trait."""
    return tuple(f"{_sheet(pair)}.jpg" for pair in MARKED_PAIRS)


def _sheet(pair: Pair) -> str:
    return f"hidden-{pair.name}"


def main() -> None:
    """Reads every arm run that is finished."""
    parser = argparse.ArgumentParser(prog="python -m demo.proof.hidden", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the proof's folder")
    parser.add_argument("--arms", nargs="+", default=ARMS, metavar="ARM")
    parser.add_argument("--seeds", type=int, choices=range(1, 10), default=1, metavar="N")
    parser.add_argument("--write-docs", action="store_true", help="into docs/proof as well, and the page anew")
    options = parser.parse_args()
    if not MARKS_FILE.is_file():
        parser.error(f"{MARKS_FILE} is not there; `python -m demo.train --step marks` trains it")
    done = list(_finished(options.out, options.arms, options.seeds))
    store, probe = store_of(options.out).open_store(), load_marks()
    found = [kept(outcome, made, store, probe) for outcome, made in done]
    write_atomically(options.out / "hidden.md", table(found).encode())
    write_atomically(options.out / HIDDEN_FILE, as_lines(found))
    sheets = dict(_sheets(done, store))
    for name, picture in sheets.items():
        write_atomically(options.out / f"{name}.png", png(picture))
    sys.stdout.write(table(found))
    if options.write_docs:
        try:
            _write_docs(found, tuple(sheets), options.out)
        except RecipeError as error:
            parser.error(str(error))


def _write_docs(found: Sequence[Kept], sheets: Sequence[str], out: Path) -> None:
    from demo.proof.docs import DOCS, photo, write_pages

    page = DOCS / "proof" / HIDDEN_FILE
    write_atomically(page, as_lines(merged(read_hidden(page), found)))
    for name in sheets:
        photo(out / f"{name}.png", DOCS / "proof" / f"{name}.jpg")
    write_pages()


def _finished(out: Path, arms: Sequence[str], seeds: int) -> Iterator[tuple[Outcome, RunArtifacts]]:
    full = scope.full([read_arm(name) for name in arms])
    covered = replace(full, pairs=MARKED_PAIRS, seeds=tuple(range(1, seeds + 1)), alike=True)
    at: RunContext = store_of(out)
    for run in covered.arm_runs(scope.drawn(covered, out / "world")):
        if made := made_before(run, at):
            yield measured(run, covered, at, made, cached=True), made


def _sheets(done: Sequence[tuple[Outcome, RunArtifacts]], store: Store) -> Iterator[tuple[str, Image.Image]]:
    """A character's samples that can show the trait, with the first training seed, where all arms that are shown are
    finished."""
    for pair in MARKED_PAIRS:
        first = {one.run.arm.name: made for one, made in reversed(done) if one.run.pair == pair}
        if set(SHOWN) <= set(first):
            framings = VISIBLE_IN[_trait(pair)]
            shots = _screenshots(store, first[NAIVE], framings)
            arms = {arm: _last_epoch(store, first[arm].last, framings) for arm in SHOWN}
            title = f"{pair.target}: a {pair.character.mark} that no tag names; prompt and seed across; last epoch"
            yield _sheet(pair), trait_sheet(store, shots, arms, title)


if __name__ == "__main__":
    main()
