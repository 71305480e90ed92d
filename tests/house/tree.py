"""The files of the repository, as the laws see them."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_PASSED_OVER = {
    *(".git", ".venv", ".data", "reports", "__pycache__", ".hypothesis", ".import_linter_cache"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", "dist", "node_modules", ".idea", ".vscode"),
}
_BINARY = (".png", ".jpg", ".gif", ".ico", ".woff2", ".pdf", ".gz", ".zip", ".xlsx")
_MADE_HERE = {".env", ".env.new", ".coverage", ".DS_Store"}


@lru_cache(maxsize=1)
def paths() -> tuple[str, ...]:
    """Every file of the project, relative and sorted; what tools leave behind is passed over."""
    found = []
    stack = [ROOT]
    while stack:
        for entry in stack.pop().iterdir():
            if entry.name in _PASSED_OVER or entry.name.endswith((".egg-info", ".sqlite3")):
                continue
            if entry.is_dir():
                stack.append(entry)
            elif entry.name not in _MADE_HERE:
                found.append(entry.relative_to(ROOT).as_posix())
    return tuple(sorted(found))


@cache
def source(path: str) -> str:
    """The text of a file; bytes that are no UTF-8 are shown as such."""
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def python_files() -> tuple[str, ...]:
    """Every Python file of the project."""
    return tuple(path for path in paths() if path.endswith(".py"))


def text_files() -> tuple[str, ...]:
    """Every file that people read; data files of tests are taken as they came."""
    return tuple(
        path
        for path in paths()
        if not path.endswith((*_BINARY, ".csv")) and not path.startswith("tests/data/")
    )
