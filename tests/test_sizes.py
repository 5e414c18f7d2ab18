"""Sizes that STYLE's houses keep: files that can be read at a sitting, functions that fit one look."""

import ast
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_FUNCTION_LINES = 75
_FILE_LINES = {"lora_core": 320, "tasks": 225, "flows": 280}
"""What holds today, rounded up: lower a bound when the longest file gets shorter."""


@pytest.mark.parametrize("room", _FILE_LINES)
def test_a_file_is_read_at_a_sitting(room: str) -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in (_ROOT / room).rglob("*.py")}
    long = [f"{path.relative_to(_ROOT)} ({size})" for path, size in sizes.items() if size > _FILE_LINES[room]]
    assert not long, f"over {_FILE_LINES[room]} lines: {', '.join(long)}; split by what they are about, or shorten"


@pytest.mark.parametrize("room", _FILE_LINES)
def test_a_function_fits_one_look(room: str) -> None:
    long = [
        f"{path.relative_to(_ROOT)}:{node.lineno} {node.name}"
        for path in (_ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (node.end_lineno or 0) - node.lineno >= _FUNCTION_LINES
    ]
    assert not long, f"functions over {_FUNCTION_LINES} lines: {', '.join(long)}; take a part with a name out"
