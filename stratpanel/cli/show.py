"""Commands that only read: status, logs, runs, events.

With --json they print what CONTRACTS describes and import neither rich nor param.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import datetime, timedelta
from typing import Any

from stratpanel.cli import DONE
from stratpanel.cli.session import connect, path_of
from stratpanel.model.errors import NotFound, StratpanelError


def _print_json(body: Any) -> int:
    json.dump(body, sys.stdout, indent=2, ensure_ascii=False)
    print()
    return DONE


def status(options: argparse.Namespace) -> int:
    """All strategies as a table, or one in full; `--json` for scripts."""
    api = connect(options)
    body = {"supervisor": api.get("/api/supervisor"), "strategies": api.get("/api/strategies")["strategies"]}
    if options.id is not None:
        body["strategies"] = [row for row in body["strategies"] if row["id"] == options.id]
        if not body["strategies"]:
            raise NotFound(f"there is no strategy {options.id!r} in this workspace", code="STRATEGY_NOT_FOUND")
    if options.json:
        return _print_json(body)
    from stratpanel.cli import render

    if options.id is None:
        render.status_table(body)
    else:
        render.status_card(body["strategies"][0])
    return DONE


def logs(options: argparse.Namespace) -> int:
    """Print the newest lines; with `-f` go on as they come, across rotation and restarts."""
    api = connect(options)
    query: dict[str, Any] = {"lines": options.lines}
    for key, value in (("search", options.search), ("run", options.run_id)):
        if value:
            query[key] = value
    if options.since:
        query["since"] = moment(options.since).isoformat()
    page = api.get(path_of(options.id, "logs"), query)
    for line in page["lines"]:
        _print_line(line["time"], line["text"], options.times)
    if not options.follow:
        return DONE
    cursor = page.get("after")
    from stratpanel.client.following import follow

    for event, _id, data in follow(api, path_of(options.id, "logs", "stream"), cursor):
        if event == "line" and (not options.search or options.search.lower() in data["log"].lower()):
            _print_line(data["time"], data["log"], options.times)
    return DONE


def _print_line(time: str | None, text: str, with_time: bool) -> None:
    """One line of a log, control characters made harmless when it goes to a terminal."""
    if sys.stdout.isatty():
        text = re.sub(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]", "\ufffd", text)
    print(f"{_clock(time)}  {text}" if with_time else text, flush=True)


def _clock(time: str | None) -> str:
    if time is None:
        return "-" * 23
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def moment(text: str) -> datetime:
    """`09:15` today, an ISO date or time, or `15m`, `2h`, `1d` ago; local time where no zone is given."""
    now = datetime.now().astimezone()
    ago = re.fullmatch(r"(\d+)\s*([smhd])", text.strip())
    if ago:
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[ago[2]]
        return now - timedelta(**{unit: int(ago[1])})
    clock = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text.strip())
    try:
        if clock:
            return now.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0), microsecond=0)
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise StratpanelError(
            f"{text!r} is not a time: give 09:15, 2026-11-22T09:15, or 15m / 2h / 1d ago", code="USAGE"
        ) from None
    return found if found.tzinfo else found.astimezone()


def runs(options: argparse.Namespace) -> int:
    """Past runs of one strategy, newest first."""
    body = connect(options).get(path_of(options.id, "runs"), {"limit": options.lines})
    if options.json:
        return _print_json(body)
    from stratpanel.cli import render

    render.runs_table(options.id, body["runs"])
    return DONE


def events(options: argparse.Namespace) -> int:
    """What happened, oldest first; with `-f` as it happens."""
    api = connect(options)
    found = api.get("/api/events", {"limit": options.lines})["events"][-options.lines :]
    for event in found:
        _print_event(event, options.json)
    if options.follow:
        from stratpanel.client.following import follow

        last = str(found[-1]["seq"]) if found else None
        for kind, _id, data in follow(api, "/api/events/stream", last):
            if kind == "reset":
                print("stratpanel: some events are gone; `stratpanel events` has what is kept", file=sys.stderr)
            elif data.get("type"):
                _print_event(data, options.json)
    return DONE


def _print_event(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(event, ensure_ascii=False), flush=True)
        return
    subject = event.get("id") or "-"
    message, by = event.get("message") or "", event.get("by")
    whom = f" by {by}" if by and by not in message else ""
    print(f"{_clock(event['time'])}  {event['type']:<14} {subject:<20} {message}{whom}", flush=True)
