"""The checks between the steps, as the report shows them."""

from collections.abc import Iterator

from lora_core.judging.gates import GateResult, read_gates
from lora_core.judging.verdict import read_verdict
from lora_core.redraw.compare import comparison
from lora_core.refs import ReportRef
from lora_core.report.data import CheckRow, ReportInputs
from lora_core.sampling.samples import GRID_FILE
from lora_core.store import Store


def all_checks(store: Store, made: ReportInputs) -> Iterator[CheckRow]:
    """Every check of a run, in the order of the steps."""
    for question, check in (
        ("Captions: do they hold to their rules?", made.caption_check),
        ("Style LoRA on the base: is it the style character?", made.style_check),
        ("Merged model: does it draw the style character whatever the prompt?", made.merge_check),
        *(("Redrawn: which pictures show all of the character and nothing of the 3D look?", one.selected)
          for one in made.redrawn),
    ):  # fmt: skip
        if check:
            yield from _rows(store, question, check)
    if made.redrawn and made.redrawn_verdict:
        refs = (*(one.verdict for one in made.redrawn), made.redrawn_verdict)
        result = comparison([read_verdict(store, ref) for ref in refs])
        yield _row("Is the LoRA better after redrawing than before?", result, b"")
    if made.successor_check:
        yield from _rows(store, "Is it at least as good as the last version?", made.successor_check)


def _rows(store: Store, name: str, ref: ReportRef) -> Iterator[CheckRow]:
    """One for each value of a check; its pictures stand with the last."""
    grid, gates = store.tree(ref.sha256).get(GRID_FILE), read_gates(store, ref)
    for number, gate in enumerate(gates, start=1):
        is_last = number == len(gates)
        yield _row(name if is_last else gate.name.capitalize(), gate, grid.read_bytes() if grid and is_last else b"")


def _row(name: str, gate: GateResult, picture: bytes) -> CheckRow:
    return CheckRow(
        name=name,
        passed=gate.passed if gate.figure is not None else None,
        line=gate.line,
        details=gate.details,
        advice=gate.advice,
        picture=picture,
    )
