"""What a person sees before a version may trade live: what changed, with which parameters, and its paper record.

Used by `Strategy.promote`. It only shows and asks; the supervisor keeps the promotion, version by version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stratpanel.model.errors import Conflict, InvalidValue
from stratpanel.model.states import ended_badly

if TYPE_CHECKING:
    from stratpanel.client.strategy import Strategy

DIFF_LINES = 60


def ask(strategy: Strategy, mode: str, yes: str | None) -> None:
    """Show the summary and want the name typed. Raises Conflict when it is not, InvalidValue for another mode."""
    if mode not in ("live", "paper"):
        raise InvalidValue(f"mode is {mode!r}; it is paper or live", fields={"mode": "is paper or live"})
    print(summary(strategy, mode))
    if mode == "paper":
        return  # less power needs no question
    typed = yes if yes is not None else input(f"type {strategy.id} to let version {strategy.version} trade live: ")
    if typed.strip() != strategy.id:
        raise Conflict(f"{strategy.id} was not promoted: its name was not typed", code="NOT_CONFIRMED")


def summary(strategy: Strategy, mode: str) -> str:
    """The text: version, what changed since the version that is live now, parameters, paper record."""
    versions = strategy.workspace.api.get(f"/api/strategies/{strategy.id}/versions")["versions"]
    live = next((row["n"] for row in versions if row.get("live")), None)
    if mode == "paper":
        return back_to_paper(strategy, live)
    lines = [f"{strategy.id}: version {strategy.version} → {mode}"]
    if live is None:
        lines.append("no version has traded live yet")
    elif live == strategy.version:
        lines.append(f"version {live} is live already")
    else:
        lines.append(f"changed since version {live}, which is live now:")
        changes = list(strategy.diff(live, strategy.version))
        lines += [f"  {line}" for line in changes[:DIFF_LINES]]
        lines += [f"  … {len(changes) - DIFF_LINES} more lines"] if len(changes) > DIFF_LINES else []
    params = strategy.config.get("params") or {}
    lines.append("parameters: " + (", ".join(f"{k}={v!r}" for k, v in sorted(params.items())) or "the script's own"))
    lines.append(paper_record(strategy))
    return "\n".join(lines)


def back_to_paper(strategy: Strategy, live: int | None) -> str:
    """What `promote("paper")` means: live starts end, and what becomes of a live run under way."""
    if strategy.config.get("mode") != "live":
        return f"{strategy.id} is on paper already; nothing changes"
    lines = [f"{strategy.id}: live starts end, its next start is on paper"]
    if live is not None:
        lines.append(f'version {live} keeps its promotion: promote("live") asks again and shows what changed')
    if strategy.mode == "live" and strategy.pid is not None:
        lines.append(f"the live run under way (PID {strategy.pid}) goes on until it is stopped")
    return "\n".join(lines)


def paper_record(strategy: Strategy) -> str:
    """Runs, hours and crashes on paper of the deployed version, in a sentence."""
    rows = strategy.workspace.api.get(f"/api/strategies/{strategy.id}/runs", {"limit": 1000})["runs"]
    runs = [row for row in rows if row.get("version") == strategy.version and row.get("mode") == "paper"]
    if not runs:
        return f"version {strategy.version} has never run on paper"
    hours = sum(float(row.get("duration_s") or 0) for row in runs) / 3600
    crashes = sum(1 for row in runs if ended_badly(row))
    return f"paper record of version {strategy.version}: {len(runs)} runs, {hours:.1f} hours, {crashes} crashes"
