"""The tests of the client: what they install, and that they call all of the map."""

from __future__ import annotations

import json
from pathlib import Path

from tests.client.methods import MAP, NOT_SERVED

HERE = Path(__file__).parent


def test_the_lock_has_a_hash_for_every_package_and_names_no_address() -> None:
    text = (HERE / "package-lock.json").read_text(encoding="utf-8")
    packages = json.loads(text)["packages"]
    packages.pop("")
    assert packages["node_modules/@medusajs/medusa-js"]["version"].startswith("6.")
    assert [name for name, each in packages.items() if "integrity" not in each] == []
    assert "://" not in text
    assert "resolved" not in text


def test_every_method_of_the_map_is_called() -> None:
    text = (HERE / "test_methods.py").read_text(encoding="utf-8")
    assert [name for name in MAP if name not in NOT_SERVED and f'"{name}"' not in text] == []
