"""Commands about when things run: schedule, week, calendar."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any
from urllib.parse import quote

from stratpanel.cli import DONE, NOT_DONE
from stratpanel.cli.session import connect, path_of
from stratpanel.cli.show import moment
from stratpanel.cli.workspace import print_json
from stratpanel.model.errors import StratpanelError


def schedule(options: argparse.Namespace) -> int:
    """Show, change, clear or explain one strategy's schedule."""
    api = connect(options)
    if options.explain or options.at:
        query = {"at": moment(options.at).isoformat()} if options.at else None
        body = api.get(path_of(options.id, "schedule", "explain"), query)
        return print_json(body) if options.json else _explain(options.id, body)
    change = _change(options)
    if change:
        if "windows" in change:
            current = api.get(path_of(options.id))["config"]["schedule"]["windows"]
            first = {**(current[0] if current else {}), **change["windows"][0]}
            missing = [name for name in ("start", "stop") if not first.get(name)]
            if missing:
                raise StratpanelError(f"a window needs both times: give --{' and --'.join(missing)} too", code="USAGE")
            change["windows"] = [first, *current[1:]]
        for warning in api.patch(path_of(options.id), {"schedule": change}).get("warnings") or ():
            print(f"stratpanel: {options.id}: {warning}", file=sys.stderr)
    row = api.get(path_of(options.id))
    if options.json:
        return print_json(row["config"]["schedule"])
    print(f"{options.id}: {_words(row['config']['schedule'])}")
    print(f"  next start {row['next_start'] or 'none'}, next stop {row['next_stop'] or 'none'}")
    return DONE


def _change(options: argparse.Namespace) -> dict[str, Any]:
    if options.clear:
        return {"enabled": False}
    window = {"start": options.start, "stop": options.stop, "days": options.days}
    window = {name: value for name, value in window.items() if value is not None}
    if "days" in window:
        window["days"] = [day.strip() for day in window["days"].split(",")]
    change: dict[str, Any] = {}
    if window:
        change = {"enabled": True, "windows": [window]}
    if options.calendar is not None:
        change["calendar"] = None if options.calendar.lower() == "none" else options.calendar
    if options.timezone is not None:
        change["timezone"] = options.timezone or None
    return change


def _words(config: dict[str, Any]) -> str:
    if not config["enabled"] or not config["windows"]:
        return "no schedule; starts by hand"
    windows = "; ".join(f"{w['start']} to {w['stop']} on {','.join(w['days'])}" for w in config["windows"])
    clock = f" ({config['timezone']})" if config.get("timezone") else ""
    return f"{windows}, calendar {config.get('calendar') or 'none'}{clock}"


def _explain(strategy_id: str, body: dict[str, Any]) -> int:
    verdict = {True: "should run", False: "should not run", None: "is left as it is"}[body["run"]]
    print(f"{strategy_id} {verdict}: {body['why']}")
    if body["until"]:
        print(f"  until {body['until']}")
    for row in body["boundaries"]:
        print(f"  {row['at']}  {row['action']:<5}  {row['rule']}")
    return DONE


def week(options: argparse.Namespace) -> int:
    """The coming week of all strategies, as text or as rows."""
    body = connect(options).get("/api/week")
    if options.json:
        return print_json(body["rows"])
    print(body["text"])
    return DONE


def calendar_list(options: argparse.Namespace) -> int:
    """Calendars and how far their data goes."""
    body = connect(options).get("/api/calendars")
    if options.json:
        return print_json(body["calendars"])
    for row in body["calendars"]:
        warning = f"  ! {row['warning']}" if row.get("warning") else ""
        print(f"{row['name']:<12} {row['timezone']:<20} data until {row['valid_through'] or 'always'}{warning}")
    return DONE


def calendar_show(options: argparse.Namespace) -> int:
    """Sessions of one calendar; instants in UTC."""
    query = {"from": options.from_, "to": options.to}
    rows = connect(options).get(f"/api/calendars/{quote(options.name, safe='')}", {k: v for k, v in query.items() if v})
    rows = rows["sessions"] if isinstance(rows, dict) else rows
    if options.json:
        return print_json(rows)
    for row in rows:
        print(f"{row['date']}  {row['open']}  {row['close']}  {row['kind']:<12} {row['why'] or ''}".rstrip())
    return DONE


def calendar_overrides(options: argparse.Namespace) -> int:
    """The user's own rows about all calendars, or one."""
    rows = connect(options).get("/api/calendar-overrides", {"calendar": options.name} if options.name else None)
    if options.json:
        return print_json(rows["overrides"])
    for row in rows["overrides"]:
        when, hours = row["date"] or "always", " ".join(row["sessions"])
        print(f"{','.join(row['calendars']):<12} {when}  {row['kind']:<7} {hours}  {row['reason']}".rstrip())
    return DONE


def calendar_sync(options: argparse.Namespace) -> int:
    """Compile foreign calendars in a child process, then let the supervisor read them."""
    from stratpanel.cli.session import workspace_of

    workspace = workspace_of(options)
    command = [sys.executable, "-m", "stratpanel.market.compile", "--workspace", str(workspace), *options.names]
    if subprocess.run(command, check=False).returncode:
        return NOT_DONE
    connect(options).post("/api/reload")
    return DONE


def calendar_check(options: argparse.Namespace) -> int:
    """Warnings about data ends and overrides; exit 1 when there is one."""
    body = connect(options).get("/api/calendars")
    warnings = body.get("warnings", [])
    for line in warnings:
        print(f"stratpanel: {line}", file=sys.stderr)
    if not warnings:
        print(f"{len(body['calendars'])} calendars, no warning")
    return NOT_DONE if warnings else DONE


def _override(options: argparse.Namespace, body: dict[str, Any]) -> int:
    path = f"/api/calendars/{quote(options.name, safe='')}/overrides/{quote(options.date, safe='')}"
    connect(options).put(path, body)
    print(f"{options.name} {options.date}: {options.why}; applied at once")
    return DONE


def calendar_close(options: argparse.Namespace) -> int:
    """No session on that date, whatever the shipped data says."""
    return _override(options, {"kind": "closed", "why": options.why})


def calendar_open(options: argparse.Namespace) -> int:
    """A session on that date, with the hours given in the calendar's zone."""
    word = {"kind": "open", "windows": _windows(options.hours), "partial": options.partial, "why": options.why}
    return _override(options, word)


def calendar_hours(options: argparse.Namespace) -> int:
    """Regular hours from that date on, in the calendar's zone."""
    word = {"kind": "hours", "windows": _windows(options.hours), "why": options.why}
    return _override(options, word | ({"days": options.days} if options.days else {}))


def calendar_valid(options: argparse.Namespace) -> int:
    """All days through that date are entered: the calendar answers until then."""
    return _override(options, {"kind": "valid", "why": options.why})


def _windows(hours: list[str]) -> list[dict[str, str]]:
    windows = [dict(zip(("open", "close"), text.split("-", 1), strict=False)) for text in hours]
    if any(len(window) != 2 for window in windows):
        raise StratpanelError("hours are HH:MM-HH:MM, for example 18:00-19:00", code="USAGE")
    return windows


def calendar_clear(options: argparse.Namespace) -> int:
    """Take back what was said of a date, of the hours from it on, or of all days through it."""
    path = f"/api/calendars/{quote(options.name, safe='')}/overrides/{quote(options.date, safe='')}"
    connect(options).delete(path, {"about": options.about})
    print(f"{options.name} {options.date}: override removed; applied at once")
    return DONE
