"""Who is learned, from whom the look is learned, and their screenshots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import demo.world
from demo.proof.crowd import crowd, crowd_screenshots
from demo.proof.unmatched import unmatched_screenshots
from demo.world.character import INHABITANTS, Character
from demo.world.scene import Composition
from demo.world.screenshot import screenshots
from demo.world.solid import FINISHES
from lora_core.store.digests import canonical_json, digest_of, file_digest
from lora_core.store.files import replacing

Role = Literal["target", "style", "crowd", "unmatched"]
# As in the demo: the two sets share no pose to the pixel.
_SEEDS: Final[Mapping[str, int]] = {"target": 1, "style": 2}


@dataclass(frozen=True)
class Pair:
    """A character to learn and a very different one, both from one 3D creator.

    Attributes:
        target: name in `INHABITANTS`.
        style: name in `INHABITANTS`.
        finish: name in `FINISHES`.
    """

    target: str
    style: str
    finish: str

    @property
    def name(self) -> str:
        """How the pair is called."""
        return f"{self.target}-{self.style}"

    @property
    def character(self) -> Character:
        """Who is learned."""
        return INHABITANTS[self.target]

    @property
    def style_character(self) -> Character:
        """From whom the look is learned."""
        return INHABITANTS[self.style]


PAIRS: Final = (
    Pair("momo", "yuki", "studio"),
    Pair("zara", "yuki", "evening"),
    Pair("lina", "kuma", "plastic"),
    Pair("sora", "kuma", "soft"),
    Pair("mei", "yuki", "plastic"),
    Pair("akane", "zara", "studio"),
    Pair("kuma", "momo", "evening"),
    Pair("yuki", "lina", "soft"),
)
"""No two of a pair share a trait. Learning rates were chosen on the first."""
_FEW: Final = 4


def few(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Four of them with four different style characters, as far as there are: enough for arms beside the core."""
    by_style: dict[str, Pair] = {}
    for pair in pairs:
        by_style.setdefault(pair.style, pair)
    return tuple(by_style.values())[:_FEW]


MARKED_PAIRS: Final = (
    Pair("rika", "yuki", "studio"),
    Pair("hoshi", "kuma", "plastic"),
    Pair("nagi", "zara", "evening"),
)
"""Of the characters with a trait that no tag names; a proof takes them where they are asked for by name."""


def draw_screenshots(pair: Pair, role: Role, folder: Path, plan: Mapping[Composition, int]) -> Path:
    """Draw one side of a pair where it is missing, or what stands in the style set's place: a crowd, unmatched ones.

    Returns:
        Its folder below `folder`; named by the world's own code too, so that a redrawn world is never mixed up with
        an older one.
    """
    name = {"target": pair.target, "crowd": f"beside-{pair.target}"}.get(role, pair.style)
    version = digest_of(canonical_json([_world_digest(), dict(plan)]))[:12]
    path = folder / version / f"{name}-{pair.finish}-{role}"
    if not path.exists():
        with replacing(path) as unfinished:
            if role == "crowd":
                crowd_screenshots(crowd(pair.character, pair.target), unfinished, plan, FINISHES[pair.finish])
            elif role == "unmatched":
                unmatched_screenshots(pair.style_character, unfinished, plan, FINISHES[pair.finish])
            else:
                screenshots(INHABITANTS[name], unfinished, _SEEDS[role], plan, FINISHES[pair.finish])
    return path


def _world_digest() -> str:
    """The drawing code's own digest."""
    sources = sorted(Path(demo.world.__file__).parent.glob("*.py"))
    return digest_of(canonical_json([file_digest(source) for source in sources]))
