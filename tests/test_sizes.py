"""Sizes that STYLE's houses keep: files that can be read at a sitting, functions that fit one look."""

import ast
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_FUNCTION_LINES = 75
_FILE_LINES = {"lora_core": 320, "tasks": 275, "flows": 290}
"""What holds today, rounded up: lower a bound when the longest file gets shorter."""
_PAGE_LINES = 1200
_LINE_LETTERS = 120
"""Of a template, as of Python."""


@pytest.mark.parametrize("room", _FILE_LINES)
def test_a_file_is_read_at_a_sitting(room: str) -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in (_ROOT / room).rglob("*.py")}
    long = [f"{path.relative_to(_ROOT)} ({size})" for path, size in sizes.items() if size > _FILE_LINES[room]]
    assert not long, f"over {_FILE_LINES[room]} lines: {', '.join(long)}; split by what they are about, or shorten"


def test_the_studio_page_is_small_enough_to_be_loved() -> None:
    page = _ROOT / "flows" / "studio"
    lines = [line for path in (page / "templates").iterdir() for line in path.read_text().splitlines()]
    templates = sum(bool(line.strip()) and not line.startswith("//") for line in lines)
    code = sum(_code_lines(path.read_text()) for path in page.glob("*.py"))
    assert code + templates < _PAGE_LINES, f"{code} lines of Python and {templates} of templates"
    assert max(map(len, lines)) <= _LINE_LETTERS


def _code_lines(text: str) -> int:
    """Lines that are neither blank, comments nor docstrings."""
    said = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for number in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return sum(bool(line) and not line.startswith("#") and number not in said for number, line in lines)


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
