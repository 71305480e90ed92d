"""Every case of Medusa's tests and every defect of the original has a test that names it.

``python -m tests.gateway.cases`` prints which.
"""

from __future__ import annotations

from pathlib import Path

from tests.gateway.cases import CASES, shown

TESTS = Path(__file__).parents[1]


def test_every_case_has_a_test_and_every_label_a_case() -> None:
    found = shown(TESTS)
    assert sorted(CASES.keys() - found.keys()) == []
    assert sorted(found.keys() - CASES.keys()) == []


def test_a_label_is_found_in_a_test_in_a_class_and_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        '"""About M06."""\n'
        'class TestY:\n    """D1, D2."""\n'
        '    async def test_z(self):\n        """M113: S3 M1000 MD5."""\n'
    )
    assert shown(tmp_path) == {
        "M06": ["test_x.py"],
        "D1": ["test_x.py::TestY"],
        "D2": ["test_x.py::TestY"],
        "M113": ["test_x.py::test_z"],
    }
