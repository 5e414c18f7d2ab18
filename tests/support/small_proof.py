"""A proof of a few pictures and steps on the shipped models: `python small_proof.py OUT LANES ARM …`.

With 0 lanes nothing is trained, and what is finished is collected.
"""

import sys
from dataclasses import replace
from pathlib import Path

from demo.proof import scope
from demo.proof.arms import common, overlaid, read_arm
from demo.proof.output import collect, prove

_TINY_TRAINING = {"epochs": 1, "repeats": 1, "rank": 4, "alpha": 2, "batch": 4}
_TINY = {
    "preprocess": {"size": 128},
    "downscale": {"size": 0},
    "style_training": _TINY_TRAINING,
    "character_training": _TINY_TRAINING,
    "sampling": {"seeds": [1], "steps": 2, "prompts": ["{trigger}, 1girl, solo, upper body, smile, grass"]},
}


def main(out: Path, lanes: int, arms: list[str]) -> None:
    """Run or collect it; an arm may be a path."""

    def say(text: str) -> None:
        print(text, flush=True)  # noqa: T201

    small = replace(
        scope.quick([read_arm(arm) for arm in arms]),
        shared=overlaid(common(quick=True), _TINY),
        plan={"close-up": 1, "portrait": 1, "upper_body": 1, "cowboy_shot": 1},
        gate_prompts=6,
    )
    if lanes:
        prove(small, out, say, lanes)
    else:
        collect(small, out, say)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
