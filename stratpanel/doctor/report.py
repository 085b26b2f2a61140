"""Prints what `doctor` found: a table for people, one JSON object for programs, and the seed's scaling table."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from stratpanel import scaling
from stratpanel.doctor.finding import Finding, Level
from stratpanel.doctor.machine import Machine

_MARKS = {
    Level.GOOD: ("ok", "green"),
    Level.NOTE: ("note", "cyan"),
    Level.WARNING: ("warning", "yellow"),
    Level.ERROR: ("error", "bold red"),
}
# the seed's table: (label, threads, memory per strategy, strategies, MiB from which the row counts)
ROWS = (
    ("2 GB", "1", "256 MB", "5", 0.0),
    ("4 GB", "2", "512 MB", "5-8", 3584.0),
    ("8 GB and more", "2-4", "1024 MB", "10 and more", 7168.0),
)


def to_json(found: list[Finding], machine: Machine) -> dict[str, object]:
    """Findings, whether all is well, and the advice for this machine."""
    memory, cores = scaling.machine_memory_mb(machine.root), scaling.machine_cpus(machine.root)
    advice = scaling.advice(memory, cores)
    return {
        "ok": not any(finding.level is Level.ERROR for finding in found),
        "findings": [finding.to_json() for finding in found],
        "scaling": {
            "memory_mb": round(memory, 1),
            "cpus": cores,
            "threads": advice.threads,
            "memory_per_strategy_mb": advice.memory_mb,
            "max_strategies": advice.max_strategies,
        },
    }


def show(found: list[Finding], machine: Machine, workspace: Path | None, out: TextIO) -> None:
    """For a terminal; without colours when `out` is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out, highlight=False, soft_wrap=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found:
        mark, style = _MARKS[finding.level]
        says = Text(finding.says)
        if finding.mend:
            says.append(f"\n→ {finding.mend}", style="bold")
        table.add_row(Text(mark, style=style), finding.name, says)
    console.print(table)
    memory = scaling.machine_memory_mb(machine.root)
    advice = scaling.advice(memory, scaling.machine_cpus(machine.root))
    here = max(i for i, row in enumerate(ROWS) if memory >= row[4])
    rows = Table(title="How much it carries", title_justify="left", box=None, pad_edge=False)
    for name in ("", "memory", "threads per library", "memory per strategy", "strategies"):
        rows.add_column(name)
    for i, (label, threads, each, most, _least) in enumerate(ROWS):
        rows.add_row("here →" if i == here else "", label, threads, each, most, style="bold" if i == here else "dim")
    console.print()
    console.print(rows)
    console.print(
        Text(
            f"this machine, {memory / 1024:.1f} GiB: about {advice.max_strategies} strategies at once, "
            f"{advice.threads} threads per library, {advice.memory_mb} MiB each"
        )
    )
    counts = [(sum(finding.level is level for finding in found), level) for level in (Level.ERROR, Level.WARNING)]
    words = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for count, level in counts)
    console.print(Text(words + (f" for {workspace}" if workspace else "")))
