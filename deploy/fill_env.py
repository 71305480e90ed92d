"""Completes a file of settings: `python deploy/fill_env.py .env.example .env.new`.

Every name of the example that the file lacks is appended: a fresh random password where the
example says change-me, else the example's own value. Names that are there stay as they are.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

_PLACEHOLDER = "change-me"
_PASSWORD_BYTES = 24


def settings_of(text: str) -> dict[str, str]:
    """Name -> value of the lines ``NAME=value``; comments and empty lines are passed over."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def missing_lines(example: str, text: str) -> list[str]:
    """The lines to append. Passwords are hexadecimal: they stand in URLs."""
    known = settings_of(text)
    return [
        f"{name}={secrets.token_hex(_PASSWORD_BYTES) if value == _PLACEHOLDER else value}"
        for name, value in settings_of(example).items()
        if name not in known
    ]


def main() -> int:
    """Append to the second file what only the first one names."""
    example, target = Path(sys.argv[1]), Path(sys.argv[2])
    text = target.read_text()
    lines = missing_lines(example.read_text(), text)
    if lines:
        end = "" if not text or text.endswith("\n") else "\n"
        target.write_text(text + end + "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
