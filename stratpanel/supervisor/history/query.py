"""The history's questions: each looks at one moment of the file (None: there is none) and of what is not yet in it.

Called by `history.py` with a read connection whose snapshot and view belong together. Pure reading; JSON-ready answers.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo

from stratpanel.supervisor.history import database, usage
from stratpanel.supervisor.history.pending import Json, View

MOST_ROWS = 10_000
_HEAVY = ("config", "spec", "instance", "env")  # in the answer for one run, not in lists

File = sqlite3.Connection | None


def epoch(value: object) -> float | None:
    """Epoch seconds of a number, an aware datetime or RFC 3339 text; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, datetime):
        return value.timestamp()
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:  # not a time: the caller decides what stands in
        return None


def time_text(at: float, zone: tzinfo) -> str:
    """RFC 3339 with offset and milliseconds."""
    return datetime.fromtimestamp(at, zone).isoformat(timespec="milliseconds")


def _fetch(file: File, query: str, values: Sequence[object]) -> list[tuple[object, ...]]:
    return [] if file is None else file.execute(query, values).fetchall()


def _load(rows: Sequence[tuple[object, ...]]) -> list[Json]:
    return [json.loads(str(row[0])) for row in rows]


def _where(conditions: Mapping[str, object]) -> tuple[str, list[object]]:
    """SQL and values of the conditions that are asked for (value not None)."""
    asked = {text: value for text, value in conditions.items() if value is not None}
    return (f" WHERE {' AND '.join(asked)}" if asked else "", list(asked.values()))


def _stored_run(file: File, run_id: str) -> Json:
    found = _load(_fetch(file, "SELECT data FROM runs WHERE run_id=?", [run_id]))
    return found[0] if found else {}


def _order(run: Mapping[str, object]) -> tuple[float, str]:
    return epoch(run.get("started")) or 0.0, str(run["run_id"])


def runs(file: File, view: View, id: str | None, limit: int, before: str | None, since: float | None) -> list[Json]:
    """Newest first, raw; `before` is the run_id of the last one seen, `since` the earliest start."""
    limit = max(1, min(limit, MOST_ROWS))
    cut = None
    if before is not None:
        seen = {**_stored_run(file, before), **view.runs.get(before, {})}
        if not seen:
            return []
        cut = _order(seen)
    where, values = _where({"id=?": id, "started>=?": since})
    if cut is not None:
        where += f"{' AND' if where else ' WHERE'} (started, run_id) < (?, ?)"
        values += cut
    query = f"SELECT data FROM runs{where} ORDER BY started DESC, run_id DESC LIMIT ?"
    found = {str(run["run_id"]): run for run in _load(_fetch(file, query, [*values, limit]))}
    for run_id, news in view.runs.items():
        run = {**(found.get(run_id) or _stored_run(file, run_id)), **news}
        wanted = (id is None or run["id"] == id) and (since is None or _order(run)[0] >= since)
        if wanted and (cut is None or _order(run) < cut):
            found[run_id] = run
    return sorted(found.values(), key=_order, reverse=True)[:limit]


def run(file: File, view: View, run_id: str) -> Json:
    """Everything known of one run, raw; {} when nothing is."""
    return {**_stored_run(file, run_id), **view.runs.get(run_id, {})}


def shown_run(run: Mapping[str, object], zone: tzinfo, *, brief: bool) -> Json:
    """A run as the API shows it: RFC 3339 times, duration, and every usual field even where unknown."""
    started, ended = epoch(run.get("started")), epoch(run.get("ended"))
    usual = ("run_id", "id", "version", "mode", "exit_code", "signal", "reason", "started_by")
    shown: Json = {name: run.get(name) for name in usual}
    shown["started"] = None if started is None else time_text(started, zone)
    shown["ended"] = None if ended is None else time_text(ended, zone)
    shown["duration_s"] = None if started is None or ended is None else round(max(ended - started, 0), 3)
    shown.update((name, value) for name, value in run.items() if name not in shown and not (brief and name in _HEAVY))
    return shown


def succeeded_since(file: File, view: View, id: str, t: float) -> bool:
    """True when a run of this strategy ended with exit code 0 at or after `t`."""
    if _fetch(file, "SELECT 1 FROM runs WHERE id=? AND ended>=? AND exit_code=0 LIMIT 1", [id, t]):
        return True
    return any(
        news["id"] == id and news.get("exit_code") == 0 and (epoch(news.get("ended")) or 0) >= t
        for news in view.runs.values()
    )


def events(
    file: File, view: View, since: int, limit: int, id: str | None, types: Sequence[str] | None, newest: bool
) -> list[Json]:
    """Events numbered above `since`, oldest first: the first `limit` of them, or with `newest` the last."""
    limit = max(1, min(limit, MOST_ROWS))
    where, values = _where({"seq>?": since, "id=?": id})
    if types is not None:
        where += f" AND type IN ({','.join('?' * len(types))})"
        values += types
    order = "DESC" if newest else "ASC"
    rows = _fetch(file, f"SELECT data FROM events{where} ORDER BY seq {order} LIMIT ?", [*values, limit])
    found = {int(str(event["seq"])): event for event in _load(rows)}
    for seq, _at, event in view.events:
        if seq > since and (id is None or event.get("id") == id) and (types is None or event.get("type") in types):
            found[seq] = event
    ordered = [found[seq] for seq in sorted(found)]
    return ordered[-limit:] if newest else ordered[:limit]


def oldest_event(file: File, view: View) -> int | None:
    """The lowest number kept."""
    known = [row[0] for row in _fetch(file, "SELECT min(seq) FROM events", []) if isinstance(row[0], int)]
    known += [seq for seq, _at, _event in view.events[:1]]
    return min(known, default=None)


def usage_series(
    file: File, view: View, id: str, since: float | None, step: int | None, until: float | None, now: float
) -> Json:
    """The usage body of CONTRACTS from `since` (default an hour ago) to `until` (default now), epoch seconds."""
    since = max(now - 3600 if since is None else since, now - usage.KEEP_S[usage.LEVELS[-1]])
    end = now if until is None else min(until, now)
    level, step = usage.choose(max(end - since, 0), now - since, step)
    first, last = int(since) - int(since) % step, int(end) - int(end) % step
    rows = [] if file is None else database.read_usage(file, id, level, step, first, last)
    for samples in view.samples:
        news = usage.roll(usage.seconds(samples), step)
        rows = usage.with_news(rows, {t: bucket for t, bucket in news.items() if first <= t <= last})
    if until is None and last - step >= first and (not rows or rows[-1][0] != last):
        last -= step  # the span that has just begun is not a gap
    return usage.series(rows, step, first, last)
