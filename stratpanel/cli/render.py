"""Tables for people, through rich; imported only when a person reads.

Everything that comes from a strategy or a person is printed as text, never as rich markup.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

COLOURS = {
    "running": "green",
    "starting": "cyan",
    "stopping": "yellow",
    "backoff": "yellow",
    "fatal": "red bold",
    "lost": "red bold",
}
WIDE = 100


class _Console(Console):
    """Lets the command line deal with a reader that went away; rich itself would end with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console() -> Console:
    # as shutil.get_terminal_size, whose import loads every compression there is: 10 ms
    width = int(os.environ["COLUMNS"]) if os.environ.get("COLUMNS", "").isdigit() else 0
    if not width:
        try:
            width = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1).columns
        except (OSError, ValueError):  # a pipe, or closed
            width = 0
    width = width or 120
    return _Console(highlight=False, markup=False, emoji=False, width=max(width, 60))


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units: `3d 4h`, `2h 05m`, `41s`; empty for None."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def moment(text: str | None) -> str:
    """An RFC 3339 time as `Mon 23 Nov 09:15` in the zone it carries; empty for None."""
    return "" if not text else datetime.fromisoformat(text).strftime("%a %d %b %H:%M")


def ending(row: dict[str, Any]) -> str:
    """How the last run ended: `exit 1`, `SIGKILL`, or empty."""
    if row.get("signal"):
        return str(row["signal"])
    return "" if row.get("exit_code") is None else f"exit {row['exit_code']}"


def status_table(body: dict[str, Any]) -> None:
    """The overview: one line about the supervisor, one row a strategy."""
    console = _console()
    supervisor = body["supervisor"]
    head = Text(f"supervisor {supervisor['state']}", style="bold" if supervisor["state"] == "running" else "bold red")
    head.append(f"  pid {supervisor['pid']}  {supervisor.get('why') or ''}", style="default")
    console.print(head)
    for warning in supervisor.get("warnings") or ():
        console.print(Text(f"! {warning}", style="yellow"))
    if not body["strategies"]:
        console.print(Text("no strategies yet; try: stratpanel add strategies/examples/simple_ema.py"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in (
        ("ID", False),
        ("STATE", False),
        ("PID", True),
        ("UP", True),
        ("CPU%", True),
        ("MiB", True),
        ("LAST", False),
        ("NEXT", False),
        ("WHY", False),
    ):
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=name != "WHY",
            overflow="ellipsis" if name == "ID" else "fold",
        )
    for row in body["strategies"]:
        upcoming = (
            f"stop {moment(row['next_stop'])}"
            if row["state"] == "running" and row["next_stop"]
            else (f"start {moment(row['next_start'])}" if row["next_start"] else "")
        )
        table.add_row(
            Text(row["id"]),
            Text(row["state"], style=COLOURS.get(row["state"], "default")),
            Text(str(row["pid"] or "")),
            Text(duration(row["uptime_s"])),
            Text("" if row["cpu_percent"] is None else f"{row['cpu_percent']:.1f}"),
            Text("" if row["memory_mb"] is None else f"{row['memory_mb']:.0f}"),
            Text(ending(row)),
            Text(upcoming),
            Text(row["why"] or ""),
        )
    console.print(table)


def status_card(row: dict[str, Any]) -> None:
    """Every status field of one strategy, one a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in row.items():
        if value is not None and key != "config":
            table.add_row(key, Text(duration(value) if key == "uptime_s" else str(value)))
    _console().print(table)


def runs_table(strategy_id: str, runs: list[dict[str, Any]]) -> None:
    """Past runs, newest first."""
    console = _console()
    if not runs:
        console.print(Text(f"{strategy_id} has not run yet"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("RUN", "VERSION", "MODE", "STARTED", "LASTED", "ENDED", "REASON"):
        table.add_column(name, overflow="fold")
    for run in runs:
        started, ended = run.get("started"), run.get("ended")
        lasted = None
        if started and ended:
            lasted = (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
        how = ending(run) or ("unknown" if ended else "running")
        table.add_row(
            *(
                Text(str(cell))
                for cell in (
                    run["run_id"],
                    run.get("version") or "",
                    run.get("mode") or "",
                    moment(started),
                    duration(lasted),
                    how,
                    run.get("reason") or "",
                )
            )
        )
    console.print(table)
