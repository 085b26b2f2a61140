"""`schedule ID --explain`: the decision at an instant, and the edges that follow, each with its rule in words.

Called by the API and the command line. Only arranges what decide says; instants carry the offset of the plan's zone.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any

from stratpanel.market.calendar import Calendar
from stratpanel.market.clock import zone
from stratpanel.market.decide import boundaries, decide
from stratpanel.market.errors import InvalidTime
from stratpanel.market.plan import NO_HOLD, Hold, Plan

EDGES = 10


def explain(
    plan: Plan,
    calendar: Calendar | None,
    hold: Hold,
    at: datetime,
    workspace: Hold = NO_HOLD,
    count: int = EDGES,
) -> dict[str, Any]:
    """The JSON of CONTRACTS: run, why, until and boundaries [{at, action, rule}]; `alert` true = show it in red."""
    decision = decide(plan, calendar, hold, at, workspace)
    shown = zone_of(plan, calendar)
    return {
        "run": decision.run,
        "why": decision.why,
        "until": decision.until.astimezone(shown).isoformat() if decision.until else None,
        "alert": decision.alert,
        "boundaries": [
            {"at": edge.at.astimezone(shown).isoformat(), "action": edge.action, "rule": edge.rule}
            for edge in boundaries(plan, calendar, at, count)
        ],
    }


def zone_of(plan: Plan, calendar: Calendar | None) -> tzinfo:
    """The zone a plan's clock times are in: its own, else its calendar's, else UTC."""
    try:
        if plan.timezone:
            return zone(plan.timezone)
    except InvalidTime:
        return UTC
    return calendar.timezone if calendar is not None else UTC
