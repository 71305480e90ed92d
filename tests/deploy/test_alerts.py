"""Alerts name metrics that exist, and each has an entry in the runbook whose commands exist."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from typing import Any

import pytest
import typer
import yaml
from prometheus_client import REGISTRY

from deploy.cli import app
from tests.deploy.system import ROOT

ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
RUNBOOK = (ROOT / "deploy/README.md").read_text()
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]
# Written by Prometheus itself.
OF_PROMETHEUS = {"up"}


def _metrics() -> dict[str, set[str]]:
    """Every metric of ours: its name in a query, and its labels."""
    import_module("deploy.assembly")  # metrics register themselves
    found = {}
    for metric in REGISTRY._collector_to_names:
        name = getattr(metric, "_name", "")
        if name.startswith("reclamo_"):
            total = metric._type == "counter"  # type: ignore[attr-defined]
            found[f"{name}_total" if total else name] = set(metric._labelnames)  # type: ignore[attr-defined]
    return found


METRICS = _metrics()
_WORDS = {"max", "min", "sum", "by", "on", "unless", "rate", "service", "kind", "queue"}


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
class TestAlert:
    def test_it_says_how_bad_since_when_what_and_where_to_read_on(
        self, rule: dict[str, Any]
    ) -> None:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert re.fullmatch(r"\d+[sm]", rule["for"])
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == f"deploy/README.md#{rule['alert'].lower()}"

    def test_its_metrics_and_labels_exist(self, rule: dict[str, Any]) -> None:
        expression = re.sub(r'"[^"]*"|\[\w+\]', "", rule["expr"])
        names = set(re.findall(r"[a-z_]{2,}(?![a-z_]*[=!]~?)", expression)) - _WORDS
        used = {name for name in names if name not in OF_PROMETHEUS}
        assert used <= set(METRICS) or rule["expr"].startswith("up{"), used - set(METRICS)
        labels = set(re.findall(r"(\w+)(?:=~|!~|=|!=)\s*\"", rule["expr"]))
        told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        if not rule["expr"].startswith("up{"):
            assert labels <= set.union(*(METRICS[name] for name in used))
            grouped = set(re.findall(r"by \(([^)]*)\)", rule["expr"]))
            assert told <= {name.strip() for each in grouped for name in each.split(",")}

    def test_the_runbook_has_an_entry(self, rule: dict[str, Any]) -> None:
        assert f"### {rule['alert']}\n" in RUNBOOK


def test_the_runbook_has_no_entry_for_nothing() -> None:
    section = RUNBOOK.split("\n## Alerts\n")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", section, re.MULTILINE) == NAMES


def test_every_command_of_the_runbook_exists() -> None:
    root = typer.main.get_command(app)
    told = re.findall(r"(?<![\w/])reclamo ((?:[a-z]+ ?)+(?:--[a-z-]+)*[^`\n]*)", RUNBOOK)
    assert len(told) > 20
    for text in told:
        words = shlex.split(text.split(" |")[0].replace("`", ""), comments=False)
        command: Any = root
        while words and hasattr(command, "commands"):
            name = words.pop(0).rstrip(".,:;)")
            if name in ("<service>", "serve", "migrate"):
                break
            assert name in command.commands, text
            command = command.commands[name]
        options = {option for param in command.params for option in param.opts}
        for word in words:
            if word.startswith("--"):
                assert word.rstrip(".,:;)") in options, text


def test_every_metric_is_told_in_the_readme() -> None:
    untold = [name for name in METRICS if f"`{name}`" not in RUNBOOK]
    assert untold == []
