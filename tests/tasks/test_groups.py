"""What steps take: few inputs, and groups of them that change no key."""

import inspect

import pytest

from flows import graph, redrawing
from lora_core.recipe import Merge, Process, Redraw, Sampling
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef, TagsRef
from lora_core.store.memo import memo_key
from tasks.caching import Node, inputs_of
from tasks.check import check_merge
from tasks.groups import Drawing, Merging, TaggedSet
from tasks.runtime import RunContext

NODES = {name: value for name, value in {**vars(graph), **vars(redrawing)}.items() if isinstance(value, Node)}


@pytest.mark.parametrize("node", NODES)
def test_a_step_takes_at_most_seven_inputs(node: str) -> None:
    taken = inspect.signature(inspect.unwrap(NODES[node].fn)).parameters
    assert len(taken) <= 7, f"{node} takes {list(taken)}: make those that belong together a group (tasks/groups.py)"


def test_the_key_of_a_step_is_that_of_its_ungrouped_inputs() -> None:
    """So that a store's finished trainings stay finished whatever is grouped."""
    base, merged = CheckpointRef(sha256="1" * 64), CheckpointRef(sha256="2" * 64)
    lora, pictures, tags = LoraRef(sha256="3" * 64), DatasetRef(sha256="4" * 64), TagsRef(sha256="5" * 64)
    tagger, merge, drawn, process = CheckpointRef(sha256="6" * 64), Merge(), Sampling(), Process()
    style, drawing, at = TaggedSet(pictures, tags, tagger), Drawing(drawn, 2, process), RunContext(store="s")
    work = inspect.unwrap(check_merge.fn)
    found, inputs = inputs_of(work, merged, Merging(base, lora, merge), style, 0.75, drawing, at)
    assert found == at
    assert memo_key("check merge", inputs) == memo_key(
        "check merge",
        {
            "base": base, "lora": lora, "merged": merged, "merge": merge, "pictures": pictures, "tags": tags,
            "tagger": tagger, "least": 0.75, "options": drawn, "clip_skip": 2, "process": process,
        },
    )  # fmt: skip


def test_two_inputs_of_one_name_are_refused_since_the_key_would_miss_one_of_them() -> None:
    def work(drawing: Drawing, options: Redraw, at: RunContext) -> None:
        """Both have options."""

    with pytest.raises(RuntimeError, match="two inputs are named 'options'"):
        inputs_of(work, Drawing(Sampling(), 1, Process()), Redraw(), RunContext(store="store"))
