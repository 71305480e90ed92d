"""Who may import whom: the contracts of pyproject.toml, kept by the tree and proven on sinners."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import laws, tree

_ROLES = ("app", "api", "consumers", "operations", "queries", "invariants", "store", "schemas")
_GATEWAY = (
    *("app", "admin", "storefront", "compose", "gate", "drift", "clients", "identity"),
    *("store", "comparing", "repairs"),
    *("delivering", "exporting", "consumers", "webhooks", "files"),
    *("sheets", "queries", "targets"),
    *("customer_claims", "uploads", "reporting"),
)
_CHASSIS = ("auth", "clock", "db", "errors", "http", "inbox", "outbox", "saga_log", "values")

# (guilty module, what it imports): each must be named in the report of a broken contract.
SINNERS = [
    ("services.returns.operations", "services.claims.domain"),
    ("services.claims.consumers", "services.claims.api"),
    ("services.claims.operations", "services.claims.queries"),
    ("services.claims.store", "services.claims.operations"),
    ("services.claims.domain", "services.claims.saga"),
    ("services.orders.refunds", "services.orders.store"),
    ("services.inventory.domain", "sqlalchemy"),
    ("services.claims.saga", "chassis.db"),
    ("services.orders.remedies", "chassis.clock"),
    ("services.orders.app", "deploy.cli"),
    ("services.orders.api", "gateway.app"),
    ("chassis.db", "services.orders"),
    ("chassis.outbox", "contracts.claims"),
    ("contracts.claims", "fastapi"),
    ("gateway.app", "services.claims.queries"),
    ("gateway.gate", "gateway.compose"),
    ("gateway.admin", "gateway.storefront"),
]


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("lint-imports")),
            *("--config", "pyproject.toml", "--no-cache", "--no-logo"),
        ],
        cwd=folder,
        # The folder's own packages come before the ones installed in place.
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "shared")])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """A house of empty files under the contracts of the real one."""
    modules = [
        f"services/{service}/{name}"
        for service in laws.SERVICES
        for name in ("__init__", *_ROLES, "saga", "domain")
    ]
    for service, nouns in laws.NOUNS.items():
        modules += [f"services/{service}/{noun.removesuffix('.py')}" for noun in nouns]
    modules += ["services/__init__"]
    modules += [f"gateway/{name}" for name in ("__init__", *_GATEWAY)]
    modules += ["deploy/__init__", "deploy/cli"]
    modules += [f"shared/chassis/{name}" for name in ("__init__", *_CHASSIS)]
    modules += [f"shared/contracts/{name}" for name in ("__init__", *laws.SERVICES)]
    for module in modules:
        file = tmp_path / f"{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    shutil.copy(tree.ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_keeps_every_import_contract() -> None:
    run = _lint(tree.ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_house_without_sins_passes(skeleton: Path) -> None:
    run = _lint(skeleton)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_sinner_is_named_in_a_broken_contract(skeleton: Path) -> None:
    for guilty, target in SINNERS:
        folder = "" if guilty.startswith(("services", "gateway")) else "shared/"
        file = skeleton / f"{folder}{guilty.replace('.', '/')}.py"
        file.write_text(f"{file.read_text()}import {target}\n")
    report = _lint(skeleton)
    assert report.returncode == 1, report.stdout + report.stderr
    unseen = [(a, b) for a, b in SINNERS if f"{a} -> {b} " not in report.stdout]
    assert not unseen, report.stdout


def test_a_file_that_no_layer_names_is_found(skeleton: Path) -> None:
    (skeleton / "services/claims/extras.py").touch()
    report = _lint(skeleton)
    assert report.returncode == 1, report.stdout + report.stderr
    assert "services.claims.extras" in report.stdout
