"""Samples for a person who must not know which arm drew them.

`python -m demo.proof.blind draw` writes numbered sheets, a pair each, and a table to fill in: 1 where a trait is the
character's, 0 where it is not, ? where it cannot be told; in the last column 1 for the 3D look. `python -m
demo.proof.blind keep` joins the table with the key, which nobody looks at before, and puts both with the pictures into
demo/by_eye. The instruments' side is read off those pictures (`agreement_by_eye`).
"""

import argparse
import csv
import functools
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

from PIL import Image

from demo.project import MODELS
from demo.proof import variants
from demo.proof.agreement import LOOK, PROBE_LOOK, TRAITS, Agreement, Labelled, agreement
from demo.proof.arms import NAIVE, RECOMMENDED
from demo.proof.families import traits
from demo.world.character import CAST
from lora_core.errors import HeadcanonError, RecipeError
from lora_core.recipe import LEAK_TAGS
from lora_core.sampling.grid import Cell, contact_grid
from lora_core.store.files import write_atomically

SEEN_FILE: Final = Path(__file__).resolve().parents[1] / "by_eye" / "samples.tsv"
_PICTURES: Final = "samples.webp"
_SHEET_COLUMNS: Final = 10
_COLUMNS: Final = 5
_SIDE_PX: Final = 128
_SHOWN_PX: Final = 256
_SEED: Final = 21
_YES, _NO = "1", "0"
_HEADS: Final = ("number", "pair", *TRAITS, LOOK)


class Drawn(NamedTuple):
    """A sample and where it is from."""

    arm: str
    pair: str
    picture: Image.Image


def choose(samples: Sequence[Drawn], count: int) -> list[Drawn]:
    """So many samples, as many of each arm and pair as possible, pair by pair in an order that tells no arm.

    Raises:
        ValueError: there are fewer.
    """
    if len(samples) < count:
        raise ValueError(f"{count} samples are wanted, there are {len(samples)}")
    rng = random.Random(_SEED)
    groups: dict[tuple[str, str], list[Drawn]] = {}
    for sample in rng.sample(list(samples), len(samples)):
        groups.setdefault((sample.pair, sample.arm), []).append(sample)
    rounds = [sample for number in range(len(samples)) for each in groups.values() for sample in each[number:][:1]]
    chosen = rng.sample(rounds[:count], count)
    return sorted(chosen, key=lambda one: one.pair)


def write_sheets(chosen: Sequence[Drawn], folder: Path) -> None:
    """Sheets, the table to fill in, and what `keep` needs: the pictures, and the key."""
    for pair in dict.fromkeys(one.pair for one in chosen):
        numbered = {number: one.picture for number, one in enumerate(chosen) if one.pair == pair}
        write_atomically(folder / f"sheet-{pair}.png", _encoded(_sheet(pair, numbered), "PNG"))
    asked = [(one.pair, [*("" if family in _traits(one.pair) else "-" for family in TRAITS), ""]) for one in chosen]
    _write_table(folder / "labels.tsv", [_HEADS, *([str(n), pair, *blank] for n, (pair, blank) in enumerate(asked))])
    _write_table(folder / "key.tsv", [("number", "arm"), *([str(n), one.arm] for n, one in enumerate(chosen))])
    write_atomically(folder / _PICTURES, _encoded(_together([one.picture for one in chosen]), "WEBP"))


def keep(folder: Path, target: Path = SEEN_FILE) -> None:
    """Put pictures and labels where they are read from, now with the arms.

    Raises:
        RecipeError: a field was not filled in.
    """
    rows, arms = (
        _read_table(folder / "labels.tsv"),
        {row["number"]: row["arm"] for row in _read_table(folder / "key.tsv")},
    )
    for row in rows:
        for name in (*_traits(row["pair"]), LOOK):
            if row[name] not in (_YES, _NO, "?"):
                raise RecipeError(
                    f"{folder / 'labels.tsv'}: {row['number']}, {name}: write {_YES}, {_NO} or ?, not '{row[name]}'"
                )
    _write_table(target, [(*_HEADS, "arm"), *([*(row[head] for head in _HEADS), arms[row["number"]]] for row in rows)])
    write_atomically(target.with_suffix(".webp"), (folder / _PICTURES).read_bytes())


@functools.cache
def agreement_by_eye(file: Path = SEEN_FILE) -> Agreement | None:
    """A person's labels beside what the shipped instruments read off the same pictures; None: nobody has labelled."""
    return agreement(labelled(file)) if file.is_file() else None


def labelled(file: Path = SEEN_FILE) -> list[Labelled]:
    """Every labelled picture, read by tagger and probe."""
    from demo.proof.probe import load_probe, solid_probabilities
    from lora_core.tagging.wd14 import Tagger

    rows = _read_table(file)
    pictures = list(_apart(file.with_suffix(".webp"), len(rows)))
    tagger = Tagger.load({path.name: path for path in (MODELS / "tagger").iterdir()}, "cpu")
    scores = tagger.probabilities([tagger.prepared(picture) for picture in pictures])
    names = [label.name for label in tagger.labels]
    found = []
    for row, values, solid in zip(rows, scores, solid_probabilities(load_probe(), pictures), strict=True):
        by_tag = dict(zip(names, values.tolist(), strict=True))
        read = {family: by_tag[tag] >= 0.5 for family, tag in _traits(row["pair"]).items()}
        read |= {LOOK: fmean(by_tag[tag] for tag in LEAK_TAGS) >= 0.5, PROBE_LOOK: solid >= 0.5}
        seen = {name: row[name] == _YES for name in (*TRAITS, LOOK) if row[name] in (_YES, _NO)}
        if LOOK in seen:
            seen[PROBE_LOOK] = seen[LOOK]
        found.append(Labelled(arm=row["arm"], pair=row["pair"], seen=seen, read=read))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the sheets, or keep what was filled in; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.proof.blind", description=__doc__)
    parser.add_argument("what", choices=("draw", "keep"))
    parser.add_argument("--proof", type=Path, default=Path("out") / "proof", help="where the runs are")
    parser.add_argument("--out", type=Path, default=Path("out") / "blind", help="sheets, table and key")
    parser.add_argument("--arms", nargs="+", default=[NAIVE, variants.WHOLE, RECOMMENDED], metavar="ARM")
    parser.add_argument("--count", type=int, default=100)
    asked = parser.parse_args(arguments)
    try:
        if asked.what == "keep":
            keep(asked.out)
        else:
            write_sheets(choose(list(_samples(asked.proof, asked.arms)), asked.count), asked.out)
    except (HeadcanonError, ValueError) as error:
        sys.stderr.write(f"blind: {error}\n")
        return 2
    return 0


def _samples(proof: Path, arms: Sequence[str]) -> Iterator[Drawn]:
    """Last epochs of those pairs on which all of the arms have run."""
    from demo.proof import scope
    from demo.proof.arms import read_arm
    from demo.proof.run import finished, store_of

    covered = scope.full([read_arm(name) for name in arms])
    outcomes = finished(covered.arm_runs(scope.drawn(covered, proof / "world")), covered, store_of(proof))
    store = store_of(proof).open_store()
    for outcome in outcomes:
        pair = outcome.run.pair.name
        if {one.run.arm.name for one in outcomes if one.run.pair.name == pair} == set(arms):
            for sample in outcome.samples.of(outcome.samples.lora_files[-1][0]):
                with Image.open(BytesIO(store.get_bytes(sample.image))) as picture:
                    yield Drawn(outcome.run.arm.name, pair, picture.convert("RGB"))


def _sheet(pair: str, numbered: Mapping[int, Image.Image]) -> Image.Image:
    """A pair's samples with their numbers, and its traits in words above."""
    numbers = list(numbered)
    rows = [(f"from {numbers[start]}", "") for start in range(0, len(numbers), _COLUMNS)]
    size = (_SHOWN_PX, _SHOWN_PX)
    cells = (
        Cell(at // _COLUMNS, at % _COLUMNS, picture.resize(size, Image.Resampling.LANCZOS))
        for at, picture in enumerate(numbered.values())
    )
    own = ", ".join(tag.replace("_", " ") for tag in _traits(pair).values())
    return contact_grid(rows, [f"+ {column}" for column in range(_COLUMNS)], cells, f"{pair}: {own}")


def _traits(pair: str) -> Mapping[str, str]:
    return traits(CAST[pair.partition("-")[0]])


def _together(pictures: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (_SHEET_COLUMNS * _SIDE_PX, -(-len(pictures) // _SHEET_COLUMNS) * _SIDE_PX))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, _corner(number))
    return sheet


def _apart(file: Path, count: int) -> Iterator[Image.Image]:
    with Image.open(file) as opened:
        sheet = opened.convert("RGB")
    for number in range(count):
        x, y = _corner(number)
        yield sheet.crop((x, y, x + _SIDE_PX, y + _SIDE_PX))


def _corner(number: int) -> tuple[int, int]:
    return number % _SHEET_COLUMNS * _SIDE_PX, number // _SHEET_COLUMNS * _SIDE_PX


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, quality=90)
    return buffer.getvalue()


def _write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    text = StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    write_atomically(path, text.getvalue().encode())


def _read_table(path: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(StringIO(path.read_text("utf-8")), delimiter="\t"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such file; run `python -m demo.proof.blind draw` first") from None


if __name__ == "__main__":
    sys.exit(main())
