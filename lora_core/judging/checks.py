"""A check's results, and its pictures if it has any."""

import json
from collections.abc import Sequence

from lora_core.judging.gates import GateResult
from lora_core.refs import ReportRef
from lora_core.store import Store

GATE_FILE = "gate.json"


def with_gates(store: Store, drawn: ReportRef | None, gates: Sequence[GateResult]) -> ReportRef:
    """A check's pictures with what was measured; None: there are no pictures."""
    files = store.tree(drawn.sha256) if drawn else {}
    found = [{**gate.model_dump(mode="json"), "line": gate.line} for gate in gates]
    return ReportRef(sha256=store.put_tree({**files, GATE_FILE: store.path(store.put_json(found))}))


def read_gates(store: Store, check: ReportRef) -> tuple[GateResult, ...]:
    """What a check measured."""
    found = json.loads(store.tree(check.sha256)[GATE_FILE].read_bytes())
    return tuple(
        GateResult.model_validate({name: value for name, value in one.items() if name != "line"}) for one in found
    )
