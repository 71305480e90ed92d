"""Sizes, worst first, under every run of the house tests: orientation, never a failure.

The question to ask of a big file is not its length but: what does its name exclude?
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.house import tree

_FILE_LINES = 400
_FUNCTION_LINES = 60
_SHOWN = 8


def _code() -> Iterator[str]:
    for path in tree.python_files():
        if not path.startswith("tests/") and "/migrations/" not in path:
            yield path


def big_files() -> list[tuple[int, str]]:
    """(lines, path) of files past 400 lines, worst first."""
    sizes = ((tree.source(path).count("\n"), path) for path in _code())
    return sorted((size for size in sizes if size[0] > _FILE_LINES), reverse=True)


def big_functions() -> list[tuple[int, str]]:
    """(lines, path:line name) of functions past 60 lines, worst first."""
    found = []
    for path in _code():
        for node in ast.walk(ast.parse(tree.source(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > _FUNCTION_LINES:
                    found.append((lines, f"{path}:{node.lineno} {node.name}"))
    return sorted(found, reverse=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the worst of each."""
    for title, sizes in (
        (f"files over {_FILE_LINES} lines: what does the name exclude?", big_files()),
        (f"functions over {_FUNCTION_LINES} lines", big_functions()),
    ):
        if sizes:
            terminalreporter.write_line(f"{title} ({len(sizes)})")
            for lines, name in sizes[:_SHOWN]:
                terminalreporter.write_line(f"  {lines:5} {name}")
