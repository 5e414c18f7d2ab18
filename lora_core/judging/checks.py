"""A check's pictures with the figure that was measured beside them."""

from typing import TYPE_CHECKING

from lora_core.refs import ReportRef
from lora_core.store import Store

if TYPE_CHECKING:
    from lora_core.judging.gates import GateResult

GATE_FILE = "gate.json"


def with_gate(store: Store, drawn: ReportRef, gate: "GateResult") -> ReportRef:
    """A check's pictures with what was measured beside them."""
    files = store.tree(drawn.sha256)
    found = {**gate.model_dump(mode="json"), "line": gate.line}
    return ReportRef(sha256=store.put_tree({**files, GATE_FILE: store.path(store.put_json(found))}))
