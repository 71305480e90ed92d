"""The walk in ARCHITECTURE.md leads through files and functions that are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PLACE = re.compile(r"`((?:[\w]+/)+\w+\.py)(?:::(\w+))?`")


def _places(text: str) -> list[tuple[str, str | None]]:
    return [(path, name or None) for path, name in _PLACE.findall(text)]


def _missing(text: str) -> list[str]:
    """Places the text names that do not exist; ``chassis/`` and ``contracts/`` lie in shared."""
    wrong = []
    for path, name in _places(text):
        file = ROOT / ("shared" if path.startswith(("chassis/", "contracts/")) else "") / path
        if not file.exists():
            wrong.append(path)
        elif name and name not in {
            node.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }:
            wrong.append(f"{path}::{name}")
    return wrong


def test_every_place_of_the_walk_is_in_the_code() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(_places(text)) > 15
    assert _missing(text) == []


def test_a_place_that_is_gone_is_found() -> None:
    text = "`services/claims/api.py::open_claim` `services/claims/api.py::gone` `gateway/gone.py`"
    assert _missing(text) == ["services/claims/api.py::gone", "gateway/gone.py"]
