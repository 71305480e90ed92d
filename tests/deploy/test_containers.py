"""The containers on paper: compose file, Dockerfile and .env.example, without a daemon."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("orders", "claims", "returns", "inventory", "gateway")
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
EXAMPLE = dict(
    line.split("=", 1)
    for line in (ROOT / ".env.example").read_text().splitlines()
    if line and not line.startswith("#")
)


def _check(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("check-jsonschema")),
            *("--builtin-schema", "vendor.compose-spec", *map(str, files)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_compose_file_keeps_the_specification() -> None:
    run = _check(ROOT / "docker-compose.yml")
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_compose_file_with_a_bad_key_is_found(tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text("services: {a: {image: a, healthchek: {}}}\n")
    run = _check(file)
    assert run.returncode == 1
    assert "healthchek" in run.stdout + run.stderr


def test_every_service_runs_after_its_own_migration_and_the_healthy_broker() -> None:
    for name in OURS:
        waits = SERVICES[name]["depends_on"]
        assert waits[f"{name}-migrate"] == {"condition": "service_completed_successfully"}
        assert SERVICES[f"{name}-migrate"]["command"] == ["migrate", name]
        assert SERVICES[f"{name}-migrate"]["restart"] == "no"
        assert SERVICES[name]["command"][:2] == ["serve", name]
        assert waits["rabbitmq"] == {"condition": "service_healthy"}


def test_only_the_gateway_publishes_a_port_and_touches_the_outside() -> None:
    assert [name for name, service in SERVICES.items() if service.get("ports")] == ["gateway"]
    outside = [name for name, service in SERVICES.items() if "outside" in service["networks"]]
    assert outside == ["gateway"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}


@pytest.mark.parametrize("name", OURS)
class TestOurContainers:
    """What every container of ours has."""

    def test_there_may_be_several_of_it(self, name: str) -> None:
        assert not {"container_name", "hostname"} & set(SERVICES[name])
        # Evidence alone lies on a disk, and that they share: each file has a name of its own, and
        # is written whole and once.
        shared = {"claims": ["evidence:/evidence"]}
        assert SERVICES[name].get("volumes", []) == shared.get(name, [])
        assert "deploy" not in SERVICES[name]

    def test_it_can_write_nowhere_and_become_nobody_else(self, name: str) -> None:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in service, "the image's own user, not root"

    def test_it_is_given_time_to_finish_and_shows_its_health(self, name: str) -> None:
        service = SERVICES[name]
        assert service["init"] is True
        assert service["stop_grace_period"] == "35s"
        assert "/readyz" in " ".join(service["healthcheck"]["test"])

    def test_it_knows_its_own_secrets_only(self, name: str) -> None:
        environment = SERVICES[name]["environment"]
        known = " ".join(f"{key}={value}" for key, value in environment.items())
        for other in set(OURS) - {name}:
            assert f"RECLAMO_{other.upper()}_DATABASE_URL" not in known
            assert f"RECLAMO_{other.upper()}_PASSWORD" not in known
        assert ("RECLAMO_SECRET_KEY" in environment) == (name == "gateway")
        assert ("RECLAMO_INTERNAL_PUBLIC_KEY" in environment) == (name != "gateway")

    def test_its_database_is_its_own_under_its_own_role(self, name: str) -> None:
        url = SERVICES[name]["environment"][f"RECLAMO_{name.upper()}_DATABASE_URL"]
        assert re.fullmatch(rf"postgresql://{name}:\$\{{\w+:\?\}}@postgres:5432/{name}", url)


def test_every_variable_that_compose_reads_is_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    read = set(re.findall(r"\$\{(RECLAMO_\w+)", text))
    assert read == set(EXAMPLE)


def test_every_secret_of_the_example_is_one_that_is_refused() -> None:
    secrets = [value for name, value in EXAMPLE.items() if re.search("PASSWORD|_KEY", name)]
    assert set(secrets) == {"change-me"}


def test_every_secret_without_a_default_stops_compose_when_it_is_missing() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name, rest in re.findall(r"\$\{(RECLAMO_\w*(?:PASSWORD|_KEY))(.?.?)", text):
        assert rest == ":?", f"{name} must be ${{{name}:?}}"


def test_keygen_prints_every_secret_of_the_example_and_what_it_prints_is_read() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "from deploy.cli import main; main()", "keygen"],
        capture_output=True,
        text=True,
        check=True,
    )
    printed = dict(line.split("=", 1) for line in run.stdout.splitlines())
    assert set(printed) <= set(EXAMPLE)
    assert {name for name, value in EXAMPLE.items() if value == "change-me"} <= set(printed)
    passwords = [value for name, value in printed.items() if name.endswith("_PASSWORD")]
    assert all(re.fullmatch(r"[\w-]{16,}", password) for password in passwords)
    assert len(set(passwords)) == len(passwords)


class TestDockerfile:
    """The image file, read line by line."""

    def test_what_it_copies_is_there(self) -> None:
        for line in DOCKERFILE.splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                for source in line.split()[1:-1]:
                    pattern = source.replace("${SERVICE}", "orders")
                    assert list(ROOT.glob(pattern)), f"{line}: {source} is not there"

    def test_the_builder_is_sent_what_it_copies(self) -> None:
        sent = [
            line[1:]
            for line in (ROOT / ".dockerignore").read_text().splitlines()
            if line.startswith("!")
        ]
        for line in DOCKERFILE.splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                for source in line.split()[1:-1]:
                    assert any(source == name or source.startswith(f"{name}/") for name in sent)

    def test_a_services_image_holds_no_other_service(self) -> None:
        stage = DOCKERFILE.split("AS service\n")[1].split("\nFROM")[0]
        copied = [line.split()[1] for line in stage.splitlines() if line.startswith("COPY")]
        assert copied == ["services/__init__.py", "services/${SERVICE}"]

    def test_it_pins_its_python_installs_by_hash_and_is_not_root(self) -> None:
        image = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
        assert image
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", image.group(1))
        assert "--require-hashes" in DOCKERFILE
        assert re.search(r"^USER 10001$", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("name", OURS)
def test_an_image_starts_with_nothing_but_what_is_copied_into_it(name: str, tmp_path: Path) -> None:
    """The same files in the same places, without a daemon: an import across services fails here."""
    shutil.copytree(ROOT / "shared", tmp_path / "shared")
    (tmp_path / "deploy").mkdir()
    for file in (ROOT / "deploy").glob("*.py"):
        shutil.copy(file, tmp_path / "deploy")
    if name == "gateway":
        shutil.copytree(ROOT / "gateway", tmp_path / "gateway")
        module = "gateway.app"
    else:
        (tmp_path / "services").mkdir()
        shutil.copy(ROOT / "services/__init__.py", tmp_path / "services")
        shutil.copytree(ROOT / "services" / name, tmp_path / "services" / name)
        module = f"services.{name}.app"
    # The checkout that is installed in place is taken off the path, the copy put on it.
    code = f"""
import sys
checkout = ({str(ROOT)!r}, {str(ROOT / "shared")!r})
sys.path = [{str(tmp_path)!r}, {str(tmp_path / "shared")!r}] + [
    path for path in sys.path if path and path not in checkout
]
import {module}, deploy.cli, typer.testing
run = typer.testing.CliRunner().invoke(deploy.cli.app, ["migrate", {name!r}])
assert run.exit_code == 0, run.output + repr(run.exception)
print(sorted(n for n in sys.modules if n.startswith(("services.", "gateway")) and n.count(".") < 2))
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "RECLAMO_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / f"{name}.db").exists()
    others = {f"services.{other}" for other in OURS if other != name}
    assert not [other for other in others if repr(other) in run.stdout], run.stdout
