"""Completing a .env: fresh passwords for what is missing, nothing touched that is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy.fill_env import missing_lines, settings_of

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = "# words\nRECLAMO_A_PASSWORD=change-me\nRECLAMO_B_PASSWORD=change-me\nRECLAMO_PORT=8000\n"


def test_a_missing_password_is_fresh_and_stands_in_a_url_as_it_is() -> None:
    first, second = (settings_of("\n".join(missing_lines(EXAMPLE, ""))) for _ in range(2))
    assert first["RECLAMO_A_PASSWORD"] != first["RECLAMO_B_PASSWORD"]
    assert first["RECLAMO_A_PASSWORD"] != second["RECLAMO_A_PASSWORD"]
    assert len(first["RECLAMO_A_PASSWORD"]) == 48
    assert first["RECLAMO_A_PASSWORD"].isalnum()


def test_a_setting_that_is_no_secret_keeps_the_examples_value() -> None:
    assert settings_of("\n".join(missing_lines(EXAMPLE, "")))["RECLAMO_PORT"] == "8000"


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    example, target = tmp_path / "example", tmp_path / "target"
    example.write_text(EXAMPLE)
    target.write_text("RECLAMO_A_PASSWORD=mine")
    command = [sys.executable, str(ROOT / "deploy/fill_env.py"), str(example), str(target)]
    subprocess.run(command, check=True)
    once = target.read_text()
    assert settings_of(once)["RECLAMO_A_PASSWORD"] == "mine"
    assert set(settings_of(once)) == {"RECLAMO_A_PASSWORD", "RECLAMO_B_PASSWORD", "RECLAMO_PORT"}
    subprocess.run(command, check=True)
    assert target.read_text() == once
