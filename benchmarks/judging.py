"""How good the choice of the epoch is, simulated: the rule as it was and as it is, by the number of pictures.

    python benchmarks/judging.py --runs 200

A LoRA has ten epochs at three weights. Its true identity rises with both; so does its true leak, as a share of the way
to the screenshots, in some of the LoRAs. Of each column some pictures are read: identity with the scatter of prompts
and seeds, the look as a tagger gives it (weakly, or well; below .05 it says nothing). Noise is shared between columns
as far as the seed is. Both rules then choose. *Regret* is how much true identity a choice within the true bound lacks
of the best such; *beyond* is the share of choices whose true leak is over the bound; *none* that no epoch passes.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from lora_core.judging.bootstrap import Floats, resampled_weights
from lora_core.judging.leak import LEAST_WAY
from lora_core.recipe import Judging, Sampling

WORDS = {
    "weakly": ((0.03, 0.35), (0.06, 0.28), (0.05, 0.22)),
    "well": ((0.02, 0.8), (0.05, 0.5), (0.03, 0.4), (0.01, 0.9)),
}
"""Of the look words that the tagger knows: in the base's own pictures, in the screenshots."""
FLOOR, SHARED, TAIL = 0.05, 0.7, 0.025
BOUND = Judging().max_leak


class Column(NamedTuple):
    """What is true of one epoch at one weight."""

    identity: float
    leak: float


class Outcome(NamedTuple):
    """What came of one choice."""

    regret: float | None
    is_beyond: bool
    is_none: bool


def columns(leaks: float) -> list[Column]:
    """Ten epochs × three weights of a LoRA; `leaks` is how far the look comes along at the end."""
    strength = [weight * (1 - np.exp(-epoch / 3)) for epoch in range(1, 11) for weight in (0.6, 0.8, 1.0)]
    return [Column(float(0.8 * each), float(leaks * each**2)) for each in strength]


def simulate(
    words: tuple[tuple[float, float], ...], leaks: float, prompts: int, seeds: int, rng: np.random.Generator
) -> dict[str, Outcome]:
    """One LoRA, read and chosen by both rules."""
    truth, count = columns(leaks), prompts * seeds
    places = [number // seeds for number in range(count)]
    weights = resampled_weights(tuple((place,) for place in places))

    def scatter(of_prompt: float, of_seed: float) -> Floats:
        return rng.normal(0, of_prompt, prompts)[places] + rng.normal(0, of_seed, count)

    shared = scatter(0.12, 0.18)
    identity = [one.identity + np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * scatter(0.12, 0.18) for one in truth]
    lows = [float(np.quantile(weights @ each, TAIL)) for each in identity]
    deltas: list[list[Floats]] = [[] for _ in truth]
    shares: list[list[Floats]] = [[] for _ in truth]
    ways: list[float] = []
    for in_base, in_screenshots in words:
        own, screenshots = scatter(0.5, 0.8), _seen(in_screenshots, rng.normal(0, 0.9, 38)).mean()
        base = _seen(in_base, own)
        way = float(screenshots - base.mean())
        ways += [way] if way >= LEAST_WAY else []
        for number, one in enumerate(truth):
            mean = (1 - one.leak) * in_base + one.leak * in_screenshots
            drawn = _seen(mean, np.sqrt(SHARED) * own + np.sqrt(1 - SHARED) * scatter(0.5, 0.8))
            deltas[number].append(drawn - base)
            if way >= LEAST_WAY:
                shares[number].append((drawn - base) / way)
    before = [bool(np.mean(each) <= BOUND) for each in deltas]
    after = [bool(each) and _upper(each, ways, weights) <= BOUND for each in shares]
    return {"before": _chosen(truth, lows, before), "after": _chosen(truth, lows, after)}


def _upper(shares: list[Floats], ways: list[float], weights: Floats) -> float:
    """The interval's upper end as `leak.Look` has it: of all words together, or of the one that surely says more."""
    together = np.average(shares, axis=0, weights=ways)
    most = max(shares, key=lambda each: np.quantile(weights @ each, TAIL))
    surely = np.quantile(weights @ (most - together), TAIL) > 0
    return float(np.quantile(weights @ (most if surely else together), 1 - TAIL))


def _seen(mean: float, scatter: Floats) -> Floats:
    values = 1 / (1 + np.exp(-(np.log(mean / (1 - mean)) + scatter)))
    return np.where(values < FLOOR, 0.0, values)


def _chosen(truth: list[Column], lows: list[float], passes: list[bool]) -> Outcome:
    within = [number for number, passed in enumerate(passes) if passed]
    if not within:
        return Outcome(None, False, True)
    chosen = truth[max(within, key=lambda number: lows[number])]
    if chosen.leak > BOUND:
        return Outcome(None, True, False)
    best = max(one.identity for one in truth if one.leak <= BOUND)
    return Outcome(best - chosen.identity, False, False)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    defaults = Sampling()
    now = (len(defaults.prompts), len(defaults.seeds))
    print("| tagger sees the look | LoRA leaks at the end | prompts × seeds | rule | regret | beyond | none |")
    print("|---|---|---|---|---|---|---|")
    for name, words in WORDS.items():
        for leaks in (0.0, 0.6, 1.0):
            for prompts, seeds in dict.fromkeys(((3, 2), (6, 2), (8, 2), (8, 4), now)):
                rng = np.random.default_rng(1)
                found = [simulate(words, leaks, prompts, seeds, rng) for _ in range(runs)]
                for rule in ("before", "after"):
                    each = [one[rule] for one in found]
                    regrets = [one.regret for one in each if one.regret is not None]
                    regret = f"{statistics.fmean(regrets):.3f}" if regrets else "–"
                    beyond, none = (
                        sum(values) / runs for values in zip(*((o.is_beyond, o.is_none) for o in each), strict=True)
                    )
                    print(
                        f"| {name} | {leaks:g} | {prompts} × {seeds} | {rule} | {regret} | {beyond:.0%} | {none:.0%} |"
                    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
