"""What the API answers, as Param classes: only their schemas are used, to describe the API in OpenAPI.

Read by `openapi.py`. The supervisor builds these answers as plain dictionaries; contracts change by addition, so an
answer may have more fields than stand here, never fewer.
"""

from __future__ import annotations

from typing import Any, ClassVar

import param

from stratpanel.model.kinds import Day, Instant, JsonObject, Series, Text, Texts
from stratpanel.model.values import Model, Values


class Answer(Model):
    """Base of the answers; `always` names the fields that are never left out."""

    always: ClassVar[tuple[str, ...]] = ()


def _number(doc: str, **more: Any) -> Any:
    return param.Number(None, allow_None=True, doc=doc, **more)


def _integer(doc: str, **more: Any) -> Any:
    return param.Integer(None, allow_None=True, doc=doc, **more)


def _text(doc: str) -> Any:
    return Text(None, allow_None=True, doc=doc, longest=1_000_000)


class Error(Answer):
    """Why a request was not done."""

    always = ("status", "error_code", "message")
    status = param.Selector(default="error", objects=["error"], doc="always error")
    error_code = Text("ERROR", pattern=r"[A-Z][A-Z0-9_]*", doc="for scripts, such as STRATEGY_NOT_FOUND")
    message = Text("", longest=1_000_000, doc="for people: the thing, the cause, the next step")
    fields = JsonObject({}, doc='path of each bad field and what is wrong with it: {"schedule.windows[0].start": "…"}')


class HoldDetail(Answer):
    """Who decided over the schedule, when, why, and until when."""

    by = _text("who")
    at = Instant(None, allow_None=True, doc="when")
    why = _text("the reason given")
    until = Instant(None, allow_None=True, doc="when the hold ends by itself; null: when lifted")


class StatusExtras(Answer):
    """Status fields beyond CONTRACTS' first list: what pages need without asking for each configuration."""

    hold_detail = param.ClassSelector(class_=HoldDetail, default=None, allow_None=True, doc="null without a hold")
    started = Instant(None, allow_None=True, doc="start of the run under way")
    state_since = Instant(None, allow_None=True, doc="when it came into its state")
    queue = _integer("place in the queue of starts")
    quiet = param.Boolean(False, doc="no log line for quiet_after seconds")
    alert = param.Boolean(False, doc="to be shown in red")
    dropped_bytes = param.Integer(0, doc="output the disk had no room for")
    memory_limit_mb = _number("MiB its tree may use")
    scheduled = param.Boolean(False, doc="whether its schedule is enabled")
    calendar = _text("its calendar")
    timezone = _text("its schedule's time zone")
    user_id = Text("", doc="who created it")
    tags = Texts([], doc="words to find it by")
    priority = param.Integer(5, doc="order of starts, 0 first")


class Run(Answer):
    """One run of a strategy, past or under way; code and signal both null after the end: unknown."""

    always = ("run_id", "id", "started", "ended", "exit_code", "signal")
    run_id = Text("", doc="its id")
    id = Text("", doc="the strategy")
    version = _integer("the deployed version that ran")
    mode = _text("paper or live")
    started = Instant(None, allow_None=True, doc="when it began")
    ended = Instant(None, allow_None=True, doc="when its tree was empty; null: under way")
    duration_s = _number("seconds from start to end")
    exit_code = _integer("0-255", bounds=(0, 255))
    signal = _text("such as SIGKILL")
    reason = _text("the end in words")
    started_by = _text("who or what started it")


class EventRecord(Answer):
    """Something that happened."""

    always = ("seq", "time", "type", "message")
    seq = param.Integer(0, doc="its number; also the stream's id")
    time = Instant(None, allow_None=True, doc="when")
    type = Text("", doc="such as started, crash, edit")
    id = _text("the strategy, null for the workspace")
    by = _text("who or what caused it")
    message = Text("", longest=1_000_000, doc="in words")
    status = _text("the state afterwards")
    exit_code = _integer("of the run that ended")
    strategy = _text("the strategy's name")


class LogLine(Answer):
    """One line as it was printed."""

    always = ("time", "text", "run_id", "cursor")
    time = Instant(None, allow_None=True, doc="when it was printed; null: unknown")
    text = Text("", longest=1_000_000, doc="the line, without its end")
    run_id = _text("the run that printed it")
    cursor = Text("", doc="its place")


class LogPage(Answer):
    """Lines of a log, oldest first."""

    always = ("lines", "before")
    lines = Values([], item_type=LogLine, most=10_000, doc="the lines")
    before = _text("cursor for the page before this one; null: there is none")


class Usage(Answer):
    """What a strategy's tree used; all lists are of equal length, null is a gap."""

    always = ("step_s", "t", "cpu_percent", "memory_mb", "threads", "open_files")
    step_s = param.Number(1, doc="seconds between two points")
    t = Series([], doc="epoch seconds")
    cpu_percent = Series([], doc="percent of one core")
    memory_mb = Series([], doc="MiB")
    threads = Series([], doc="threads")
    open_files = Series([], doc="open files")


class Version(Answer):
    """One deployed, immutable copy of a strategy's code."""

    always = ("version", "sha", "created", "by")
    version = param.Integer(1, bounds=(1, None), doc="its number")
    sha = Text("", doc="hash over its files")
    created = Instant(None, allow_None=True, doc="when it was deployed")
    by = Text("", doc="who deployed it")
    note = Text("", longest=1_000_000, doc="why")
    entry = Text("", doc="the file that runs")
    files = Texts([], doc="its files")
    size = param.Integer(0, doc="bytes")
    warnings = Texts([], longest=1_000_000, doc="what was odd when it was deployed")
    current = param.Boolean(False, doc="what a paper start runs")
    live = param.Boolean(False, doc="what a live start runs")
    promoted_by = _text("who let it trade live")
    promoted_at = Instant(None, allow_None=True, doc="when")


class Boundary(Answer):
    """An instant at which the schedule's decision changes."""

    always = ("at", "action", "rule")
    at = Instant(None, allow_None=True, doc="when")
    action = param.Selector(default="start", objects=["start", "stop"], doc="what happens then")
    rule = Text("", longest=1_000_000, doc="what it follows from")


class Explanation(Answer):
    """Whether a strategy should run, why, and what comes next."""

    always = ("run", "why", "until", "boundaries")
    run = param.Boolean(None, allow_None=True, doc="null: leave it as it is")
    why = Text("", longest=1_000_000, doc="in a trader's words")
    until = Instant(None, allow_None=True, doc="when this may change")
    boundaries = Values([], item_type=Boundary, most=1000, doc="the next starts and stops")


class Session(Answer):
    """One session of an exchange, instants in UTC."""

    always = ("date", "open", "close", "kind", "why")
    date = Day(None, allow_None=True, doc="the day, in the exchange's zone")
    open = Instant(None, allow_None=True, doc="when it opens")
    close = Instant(None, allow_None=True, doc="when it closes")
    kind = param.Selector(default="regular", objects=["regular", "early_close", "special"], doc="what kind of day")
    why = Text("", longest=1_000_000, doc="the reason, where it differs")


class Health(Answer):
    """That the supervisor answers, and which one it is."""

    always = ("status", "pid", "version", "protocol")
    status = Text("ok", doc="ok")
    pid = _integer("the supervisor's PID")
    version = Text("", doc="stratpanel's version")
    protocol = param.Integer(1, doc="of the API")
