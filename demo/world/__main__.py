"""Screenshots of any character: `python -m demo.world OUT --name momo`."""

import argparse
import random
import sys
from pathlib import Path

from demo.world.character import INHABITANTS, Character
from demo.world.describe import described
from demo.world.screenshot import screenshots
from demo.world.solid import FINISHES
from demo.world.tags import prompt_text


def main() -> None:
    """Draws the 38 screenshots of the method's plan into a folder."""
    parser = argparse.ArgumentParser(prog="python -m demo.world", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write into")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--name", choices=sorted(INHABITANTS), help="one of the named characters")
    who.add_argument("--seed", type=int, help="a random character")
    who.add_argument("--tags", help='a description: "pink hair, twintails, green eyes, cat ears, blue hoodie"')
    parser.add_argument("--finish", choices=sorted(FINISHES), default="studio", help="light and gloss of the 3D look")
    options = parser.parse_args()
    try:
        character = _character(options.name, options.seed, options.tags)
    except ValueError as error:
        parser.error(str(error))
    screenshots(character, options.out, seed=options.seed or 0, finish=FINISHES[options.finish])
    sys.stdout.write(prompt_text(character.tags()) + "\n")


def _character(name: str | None, seed: int | None, tags: str | None) -> Character:
    if name is not None:
        return INHABITANTS[name]
    return described(tags) if tags is not None else Character.random(random.Random(seed))


if __name__ == "__main__":
    main()
