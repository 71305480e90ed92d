"""The laws, kept by every file of the tree."""

from __future__ import annotations

import pytest

from tests.house import laws, tree


@pytest.mark.parametrize("law", laws.PYTHON_LAWS, ids=lambda law: law.__name__)
def test_every_python_file_keeps_the_law(law: laws.Law) -> None:
    findings = [hit for path in tree.python_files() for hit in law(path, tree.source(path))]
    assert not findings, "\n" + "\n".join(str(hit) for hit in findings)


@pytest.mark.parametrize("law", laws.TEXT_LAWS, ids=lambda law: law.__name__)
def test_every_text_file_keeps_the_law(law: laws.Law) -> None:
    findings = [hit for path in tree.text_files() for hit in law(path, tree.source(path))]
    assert not findings, "\n" + "\n".join(str(hit) for hit in findings)


def test_the_tree_holds_what_is_expected_and_nothing_else() -> None:
    findings = laws.expected_tree(list(tree.paths()))
    assert not findings, "\n" + "\n".join(str(hit) for hit in findings)


def test_the_laws_meet_the_files_they_are_about() -> None:
    """A pattern that matches nothing would be a blind law."""
    python = tree.python_files()
    for pattern in (*laws.PURE, "services/*/operations.py", "shared/chassis/*", "gateway/*"):
        assert any(laws.matches(path, (pattern,)) for path in python), pattern
