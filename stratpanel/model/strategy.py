"""`Strategy` and `Workspace`, the classes every process shares, and `report()`, which alone sets what is reported.

Parameters that a person sets are plain; what the supervisor reports (state, pid, …) is constant and changes through
`report()`, called by the thread that owns the object: the supervisor's loop, or the one applier of a client's mirror.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any, Self

import param

from stratpanel.model import schema
from stratpanel.model.ids import check_id
from stratpanel.model.kinds import IdOrCommand, Instant, JsonObject, Text, Texts, Variables
from stratpanel.model.states import State
from stratpanel.model.values import Hold, Limits, LogPolicy, Model, RestartPolicy, Schedule

_log = logging.getLogger(__name__)

#: relative to strategies/scripts; no empty, `.` or `..` part, no backslash, nothing that leaves the folder
FILE_PATH = r"(?!/)(?!.*//)(?!(?:.*/)?\.\.?(?:/|$))[^\x00-\x1f\x7f\\]{1,400}(?<!/)"
ONE_LINE = r"[^\x00-\x1f\x7f]*"


class Strategy(Model):
    """One strategy: its configuration, the hold on it, and what the supervisor last reported about it."""

    id: str = Text("", constant=True, longest=100, doc="the name in every file, route and command")

    name: str = param.String("", constant=False, regex=rf"^(?:{ONE_LINE})\Z", doc="the name people read")
    file_path: str = Text(
        "",
        pattern=FILE_PATH + "|",
        says="a file or folder below strategies/scripts",
        longest=400,
        doc="the script, or a folder with main.py, relative to strategies/scripts",
    )
    user_id: str = Text("", pattern=ONE_LINE, says="a name of one line", longest=200, doc="who created it")
    mode: str = param.Selector(default="paper", objects=["paper", "live"], doc="which set of secrets a run gets")
    interpreter: str | None = Text(
        None,
        allow_None=True,
        pattern=r"[^\x00\n]+",
        says="a path",
        doc="Python, or a virtual environment's folder; null is the workspace's",
    )
    args: list[str] = Texts([], doc="command line arguments")
    cwd: str | None = Text(
        None,
        allow_None=True,
        pattern=r"[^\x00\n]+",
        says="a path",
        doc="working directory, relative to the workspace; null is the workspace",
    )
    env: dict[str, str] = Variables({}, doc="further environment variables")
    params: dict[str, Any] = JsonObject({}, doc="values of the strategy's own parameters")
    schedule: Schedule = param.ClassSelector(
        default=Schedule(), class_=Schedule, allow_None=False, instantiate=False, doc="when it runs"
    )
    limits: Limits = param.ClassSelector(
        default=Limits(), class_=Limits, allow_None=False, instantiate=False, doc="what it may use"
    )
    restart: RestartPolicy = param.ClassSelector(
        default=RestartPolicy(),
        class_=RestartPolicy,
        allow_None=False,
        instantiate=False,
        doc="whether it is started again",
    )
    grace_s: float = param.Number(5, bounds=(0, 3600), doc="seconds between SIGTERM and SIGKILL")
    start_seconds: float = param.Number(1, bounds=(0, 3600), doc="seconds alive that count as started")
    quiet_after: float | None = param.Number(
        None, bounds=(1, 31 * 86400), allow_None=True, doc="seconds without a log line that count as quiet; null: off"
    )
    quiet_restart: bool = param.Boolean(False, doc="whether a quiet strategy is restarted")
    watchdog_s: float | None = param.Number(
        None,
        bounds=(1, 31 * 86400),
        allow_None=True,
        doc="seconds without live.heartbeat() that are too many, where it did not say itself; null: off",
    )
    watchdog_restart: bool = param.Boolean(False, doc="whether it is restarted when its heartbeat stays away")
    before_start: str | list[str] | None = IdOrCommand(
        None, allow_None=True, doc="a strategy's id or a command that must have exited 0 today"
    )
    priority: int = param.Integer(5, bounds=(0, 9), doc="order of starts in the same second, 0 first")
    log: LogPolicy = param.ClassSelector(
        default=LogPolicy(), class_=LogPolicy, allow_None=False, instantiate=False, doc="what is kept"
    )
    tags: list[str] = Texts(
        [], pattern=r"[^\x00-\x1f\x7f]+", says="a tag", longest=64, most=50, unique=True, doc="words to find it by"
    )
    notes: str = Text("", longest=20_000, doc="anything worth knowing")
    created: datetime | None = Instant(None, allow_None=True, doc="when it was registered")

    hold: Hold = param.ClassSelector(
        default=Hold(),
        class_=Hold,
        allow_None=False,
        instantiate=False,
        constant=True,
        doc="what a person decided over the schedule",
    )
    state: State = param.Selector(default=State.STOPPED, objects=list(State), constant=True, doc="its state")
    why: str = Text("", constant=True, longest=10_000, doc="the reason for the state, in words")
    pid: int | None = param.Integer(None, allow_None=True, constant=True, doc="the leader's PID while it lives")
    runner_pid: int | None = param.Integer(None, allow_None=True, constant=True, doc="PID of the runner that serves it")
    run_id: str | None = Text(None, allow_None=True, constant=True, doc="the run under way, or the last one")
    version: int | None = param.Integer(None, allow_None=True, constant=True, doc="the deployed version")
    working_copy_differs: bool | None = param.Boolean(
        None, allow_None=True, constant=True, doc="whether the working copy is not the version that runs, or would run"
    )
    uptime_s: float | None = param.Number(None, allow_None=True, constant=True, doc="seconds since the leader started")
    cpu_percent: float | None = param.Number(
        None, allow_None=True, constant=True, doc="CPU of the whole tree, percent of one core"
    )
    memory_mb: float | None = param.Number(None, allow_None=True, constant=True, doc="memory of the whole tree, MiB")
    exit_code: int | None = param.Integer(None, allow_None=True, constant=True, doc="0-255, of the run that ended last")
    signal: str | None = Text(None, allow_None=True, constant=True, doc="such as SIGKILL, of the run that ended last")
    restarts: int = param.Integer(
        0, constant=True, doc="automatic restarts since a person or a schedule last started it"
    )
    next_start: datetime | None = Instant(None, allow_None=True, constant=True, doc="when the schedule starts it next")
    next_stop: datetime | None = Instant(None, allow_None=True, constant=True, doc="when the schedule stops it next")
    log_path: str | None = Text(None, allow_None=True, constant=True, doc="absolute path of its log")
    last_started: datetime | None = Instant(None, allow_None=True, constant=True, doc="when the last run began")
    last_stopped: datetime | None = Instant(None, allow_None=True, constant=True, doc="when the last run ended")

    def __init__(self, **values: Any) -> None:
        values.setdefault("name", values.get("id", ""))
        super().__init__(**values)

    @classmethod
    def from_config(cls, id: str, config: dict[str, Any]) -> Self:
        """Return a strategy of the API's `config`; InvalidValue with every bad field if it is none."""
        check_id(id)
        values = schema.read(cls, config)
        if not values.get("name"):
            values["name"] = id
        return cls(id=id, **values)

    def config(self) -> dict[str, Any]:
        """The configuration as the API's nested JSON object."""
        return schema.to_json(self, schema.is_config)

    def etag(self) -> str:
        """A strong ETag of the configuration; equal configurations have equal ones."""
        import hashlib  # 7 ms of OpenSSL that only the supervisor needs

        text = json.dumps(self.config(), sort_keys=True, separators=(",", ":"))
        return f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'

    def __repr__(self) -> str:
        return f"Strategy({self.id!r}, {self.state}{': ' + self.why if self.why else ''})"


class Workspace(Model):
    """The supervisor of one workspace, as it reports itself."""

    pid: int | None = param.Integer(None, allow_None=True, constant=True, doc="the supervisor's PID")
    launcher_pid: int | None = param.Integer(None, allow_None=True, constant=True, doc="the launcher's PID")
    started: datetime | None = Instant(None, allow_None=True, constant=True, doc="when the supervisor started")
    version: str = Text("", constant=True, doc="stratpanel's version")
    url: str | None = Text(None, allow_None=True, constant=True, doc="where its API listens")
    state: str = param.Selector(
        default="running", objects=["running", "paused", "degraded"], constant=True, doc="what it is able to do"
    )
    why: str = Text("", constant=True, longest=10_000, doc="the reason for the state, in words")


for _cls in (Strategy, Workspace):
    for _parameter in _cls.param.objects(instance=False).values():
        # else Param copies each parameter to each instance that sets it: 1 KB a value, with a `constant` of its own
        _parameter.per_instance = False
    for _which in (schema.is_config, schema.is_reported):  # now: report() lifts `constant` for moments
        schema.fields(_cls, _which)


def report(subject: Model, **values: Any) -> None:
    """Set values of `subject`, reported (constant) ones too, in one batch, on the thread that owns it.

    Values that did not change fire nothing. A watcher that raises is logged and does not keep others from the values;
    a value that its parameter refuses raises ValueError and changes nothing.
    """
    parameters = type(subject).param.objects(instance=False)
    held = {name: getattr(subject, name) for name in values}
    changed = {name: value for name, value in values.items() if held[name] is not value and held[name] != value}
    if not changed:
        return
    for name, value in changed.items():  # update() would keep what stands before a bad value
        parameters[name]._validate(value)
    lifted = [parameters[name] for name in changed if parameters[name].constant]
    for parameter in lifted:  # class-wide while it lasts: hence one owning thread
        parameter.constant = False
    try:
        subject.param.update(**changed)
    except Exception:  # a watcher may raise anything; the values must not be half set
        if any(getattr(subject, name) is not value for name, value in changed.items()):
            raise
        _log.exception("a watcher of %r failed; the values are set", subject)
    finally:
        for parameter in lifted:
            parameter.constant = True
