"""What a run leaves behind: reports/reliability.json, and a table for people."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from chassis import clock
from chassis.engines import postgres_version, rabbitmq_version

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "reports" / "reliability.json"


def versions() -> dict[str, str]:
    """What was tested on what."""
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "changed_files": str(len(_git("status", "--porcelain").splitlines())),
        "python": platform.python_version(),
        "postgres": postgres_version(),
        "rabbitmq": rabbitmq_version(),
        "system": f"{platform.system()} {platform.release()}, {os.cpu_count()} cores",
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def write(parts: dict[str, dict[str, Any]], *, run: dict[str, Any], file: Path) -> int:
    """Write the parts into the file; how many violations they had.

    Parts take hours and may be run one by one: those that are in the file already stay, each with
    the ``run`` and the versions that it is from.
    """
    about = {
        "at": clock.now().isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", "tests.crash", *sys.argv[1:]]),
        **run,
        "versions": versions(),
    }
    known = json.loads(file.read_text())["parts"] if file.exists() else {}
    known |= {name: {"run": about, **part} for name, part in parts.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"violations": _count(known), "parts": known}, indent=1) + "\n")
    return _count(parts)


def _count(parts: dict[str, dict[str, Any]]) -> int:
    return sum(len(part["violations"]) for part in parts.values())


def table(parts: dict[str, dict[str, Any]]) -> str:
    """The figures, one a line; lists and tables inside are left to the file."""
    lines = []
    for name, part in parts.items():
        lines.append(f"{name}")
        for what, value in part.items():
            if isinstance(value, int | float | str):
                lines.append(f"  {what.replace('_', ' '):<28} {value:>12}")
        lines.append(f"  {'violations':<28} {len(part.get('violations', ())):>12}")
        lines += [f"    {violation[:500]}" for violation in part.get("violations", ())[:10]]
    return "\n".join(lines)
