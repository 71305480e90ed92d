"""A report for people: tables on standard output, and progress on standard error meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.bench import catalog

BUSY_PERCENT = 10.0
BUSY_LOAD = 0.5
_WIDTH = 160


class Say:
    """Words while it runs; ``shown=False`` keeps silent."""

    def __init__(self, *, shown: bool) -> None:
        self.shown = shown
        self._console = Console(stderr=True, quiet=not shown, highlight=False, soft_wrap=True)

    def __call__(self, text: str) -> None:
        self._console.print(text, markup=False)

    def machine(self, machine: dict[str, Any]) -> None:
        """What it runs on, and a warning if others work there too."""
        self(
            f"{machine['cores']} x {machine['cpu']}, {machine['memory_gib']} GiB,"
            f" fdatasync {machine['fdatasync_ms']} ms"
        )
        if machine["load_before"][0] > BUSY_LOAD:
            self(
                f"The machine is busy (load {machine['load_before'][0]} before the start):"
                " rates and latencies will be much worse than they could be, CPU per unit somewhat"
            )

    def cell(self, row: dict[str, Any]) -> None:
        """One line per cell."""
        bad = f", {row['errors']} ERRORS" if row["errors"] else ""
        bad += f", {row['refusals']} REFUSALS" if row["refusals"] else ""
        short = " (ran out of orders)" if row["ran_out"] else ""
        self(
            f"{row['mode']}: {row['work']} x {row['clients']}: {row['per_second']}/s{short},"
            f" p50 {_ms(row, 'p50_ms')} p99 {_ms(row, 'p99_ms')} ms,"
            f" {row['cpu_ms_per_unit']} CPU ms per unit, others {row['others_percent']} %{bad}"
        )
        for sample in row["samples"][:2]:
            self(f"  {sample}")


def write(report: dict[str, Any], console: Console | None = None) -> None:
    """All tables that have rows."""
    out = console or Console(highlight=False)
    # A table that is cut is of no use in a file.
    out.width = max(out.width, _WIDTH)
    origin, machine = report["origin"], report["machine"]
    out.print(
        f"commit {origin['commit']}{' + changes' if origin['changed'] else ''},"
        f" {machine['cores']} x {machine['cpu']}, load before {machine['load_before'][0]},"
        f" {report['settings']['seconds']:g} s per cell, took {report['took_s']} s",
        markup=False,
    )
    cells = [*report["cells"], *report["history_cells"]]
    for mode in report["settings"]["modes"]:
        rows = [row for row in cells if row["mode"] == mode]
        if rows:
            out.print(_rates(mode, rows))
            out.print(_costs(mode, rows))
    for title, table in (
        ("ceilings", _ceilings(report["ceilings"])),
        ("history", _history(report["history"])),
        ("idle", _idle(report["idle"])),
        ("soak", _soak(report["soak"])),
    ):
        if report[title]:
            out.print(table)
    for row in report["verify"]:
        count = len(row["findings"])
        out.print(f"{row['mode']}: verify --at-rest found {count or 'nothing'}")
    for trouble in report["troubles"]:
        out.print(f"TROUBLE {trouble}", markup=False)


def _ms(row: dict[str, Any], name: str) -> str:
    """A latency; there is none where no unit was done within the measured time."""
    return str(row[name]) if row["good"] else "-"


def _yes(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "NO"


def _rates(mode: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{mode}: speed", title_justify="left", box=None)
    table.add_column("work")
    for name in ("clients", "units/s", "p50 ms", "p95", "p99", "max", "errors", "refused"):
        table.add_column(name, justify="right")
    for name in ("others %", "floor", "goal"):
        table.add_column(name, justify="right")
    table.add_column("floor met")
    table.add_column("goal met")
    for row in rows:
        unit = {"p50": " ms", "per_second": "/s"}.get(row.get("bar", ""), "")
        table.add_row(
            f"{catalog.WORKS[row['work']].title} {row.get('when', '')}".strip(),
            *(str(row[n]) for n in ("clients", "per_second")),
            *(_ms(row, n) for n in ("p50_ms", "p95_ms", "p99_ms", "max_ms")),
            *(str(row[n]) for n in ("errors", "refusals")),
            f"{row['others_percent']}{' !' if row['others_percent'] > BUSY_PERCENT else ''}",
            *(f"{row[n]:g}{unit}" if n in row else "" for n in ("floor", "goal")),
            _yes(row.get("floor_met")),
            _yes(row.get("goal_met")),
        )
    return table


def _costs(mode: str, rows: list[dict[str, Any]]) -> Table:
    names = list(rows[0]["cpu_ms"])
    table = Table(
        title=f"{mode}: CPU ms per unit (% of a core); memory MiB at the end of each cell",
        title_justify="left",
        box=None,
    )
    table.add_column("work")
    for name in ("clients", "system", *names, "memory (peak)"):
        table.add_column(name, justify="right")
    for row in rows:
        end, peak = (sum(row[n].values()) for n in ("memory_mib", "memory_peak_mib"))
        table.add_row(
            row["work"],
            str(row["clients"]),
            f"{row['cpu_ms_per_unit']:.2f}",
            *(f"{row['cpu_ms'][n]:.2f} ({row['cpu_percent'][n]:.0f})" for n in names),
            f"{end:.0f} ({peak:.0f})",
        )
    return table


def _ceilings(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="what the parts can do", title_justify="left", box=None)
    table.add_column("part")
    for name in ("clients", "per s", "p50 ms", "p95", "p99"):
        table.add_column(name, justify="right")
    table.add_column("CPU % of a core")
    for row in rows:
        table.add_row(
            f"{row['mode']}: {row['what']}",
            *(str(row[n]) for n in ("clients", "per_second", "p50_ms", "p95_ms", "p99_ms")),
            _named(row.get("cpu_percent", {}), least=1),
        )
    return table


def _history(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="with a long history", title_justify="left", box=None)
    for name in ("mode", "work", "more orders", "CPU ms per unit", "ratio", "p50 ms", "ratio"):
        table.add_column(name, justify="right")
    table.add_column(f"within {100 * catalog.HISTORY_MAX_GROWTH - 100:.0f} %")
    for row in rows:
        figures: list[str] = []
        for name in ("cpu_ms_per_unit", "p50_ms"):
            change = row[name]
            figures += [f"{change['without']} -> {change['with']}", f"{change['ratio']:.2f}"]
        met = _yes(row.get("floor_met"))
        table.add_row(row["mode"], row["work"], f"{row['orders']:,}", *figures, met)
    return table


def _idle(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="idle", title_justify="left", box=None)
    told = f"under {catalog.IDLE_MAX_PERCENT:g} %"
    for name in ("mode", "when", "seconds", "CPU % of a core", told):
        table.add_column(name, justify="right")
    table.add_column("CPU % by process")
    table.add_column("MiB by process")
    for row in rows:
        table.add_row(
            row["mode"],
            row["when"],
            str(row["seconds"]),
            str(row["total_percent"]),
            _yes(row.get("floor_met")),
            _named(row["cpu_percent"], least=0),
            _named(row["memory_mib"], least=0),
        )
    return table


def _soak(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="steady load", title_justify="left", box=None)
    for name in ("mode", "minutes", "units", "errors", "refused"):
        table.add_column(name, justify="right")
    table.add_column("MiB per hour by process")
    table.add_column("MiB at the end")
    for row in rows:
        table.add_row(
            row["mode"],
            f"{row['seconds'] / 60:.1f}",
            *(str(row[n]) for n in ("units", "errors", "refusals")),
            _named(row["slope_mib_per_h"], least=None),
            _named({n: points[-1][1] for n, points in row["memory_mib"].items()}, least=0),
        )
    return table


def _named(figures: dict[str, float], *, least: float | None) -> str:
    shown: Iterable[tuple[str, float]] = figures.items()
    return ", ".join(f"{n} {v:g}" for n, v in shown if least is None or v >= least)
