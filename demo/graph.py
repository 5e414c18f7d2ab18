"""README's picture of the graph, drawn from `flows/graph.py`: `make graph`."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from demo.project import MODELS
from flows.graph import graph
from lora_core.recipe import Recipe
from lora_core.recipe_file import parse_recipe
from lora_core.store.files import write_atomically
from tasks.runtime import RunContext
from tasks.walking import Walk, walking

_README = Path("README.md")
_PICTURE = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)


def picture_of(recipe: Recipe) -> str:
    """The graph of a recipe as a mermaid flowchart: every node, after what it needs; what a way round says is left out.

    A node that is done for both sets is named with its set, as in Prefect's UI.
    """
    with walking(peeking=True) as walk:
        graph(recipe, RunContext.of(recipe))
    lines = (f"    {_box(first)} --> {_box(second)}" for first, second in _arrows(walk))
    return "\n".join(("flowchart LR", *lines, ""))


def _arrows(walk: Walk) -> Iterator[tuple[str, str]]:
    nodes = [(f"{visit.step} {visit.branch}".strip(), visit.branch, visit.after) for visit in walk.visits]
    nodes += [(name, "", after) for name, after in walk.uncached]
    before = {number: after for number, (_, _, after) in enumerate(nodes)}
    for name, branch, after in nodes:
        if not after:
            yield f"{branch} screenshots", name
        yield from ((nodes[each][0], name) for each in sorted(after - _before(after, before)))


def _before(numbers: Iterable[int], before: Mapping[int, frozenset[int]]) -> set[int]:
    """All that some nodes need, without themselves."""
    return {each for number in numbers for each in (*before[number], *_before(before[number], before))}


def _box(name: str) -> str:
    return f"{name.replace(' ', '_')}[{name}]"


def main() -> None:
    """Write the picture into the README at hand."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for side in ("style", "character"):
            (folder / side).mkdir()
            Image.new("RGB", (64, 64), "white").save(folder / side / "portrait_001.png")
        sets = {side: str(folder / side) for side in ("style", "character")}
        models = {side: str(MODELS / side) for side in ("base", "tagger")}
        where = {"store": str(folder / "store"), "out": str(folder / "out")}
        data = {
            "name": "graph",
            **sets,
            "base": models["base"],
            "tagger": {"model": models["tagger"]},
            "runtime": where,
        }
        picture = picture_of(parse_recipe(data, "README"))
    readme = _README.read_text()
    write_atomically(_README.absolute(), _PICTURE.sub(lambda _: picture, readme, count=1).encode())


if __name__ == "__main__":
    main()
