"""A strategy's handle: live fields from the mirror, actions through the API, its past as DataFrames.

Made by `Workspace`; holds no state of its own, so any number of handles of one strategy agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stratpanel.client.comparison import Basis, Comparison, compared
from stratpanel.client.connection import strategy_path
from stratpanel.client.reports import Reports
from stratpanel.client.showing import Part, show
from stratpanel.model.errors import InvalidValue, NotFound

if TYPE_CHECKING:
    import pandas as pd

    from stratpanel.client.connect import Workspace
    from stratpanel.model.strategy import Strategy as Model

LOG_LINES = 1000
CHECKS = "stratpanel.notebook.checks"
"""The module that reads source for what would go wrong, looked up by name."""


class Lines(list[str]):
    """Lines of a log; displayed as they were printed."""

    def __repr__(self) -> str:
        return "\n".join(self)


class Findings(Lines):
    """What a check found, a line each."""

    def __repr__(self) -> str:
        return super().__repr__() or "nothing found"


class ScheduleView(dict[str, Any]):
    """A schedule's configuration and what it says now: `run`, `why`, `until`, `boundaries`; live in a cell."""

    strategy: Strategy | None = None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if self.strategy is None:
            return {"text/plain": repr(self)}
        return show(Part(self.strategy, "schedule", repr(self)), include, exclude)

    def __repr__(self) -> str:
        config = self["config"]
        windows = "; ".join(f"{w['start']} to {w['stop']} {','.join(w['days'])}" for w in config.get("windows") or [])
        if not config.get("enabled") or not windows:
            text = "no schedule; starts by hand"
        else:
            text = (
                f"{windows}, calendar {config.get('calendar') or 'none'}, {config.get('timezone') or 'its time zone'}"
            )
        rows = "".join(f"\n  {row['at']}  {row['action']:<5}  {row['rule']}" for row in self["boundaries"])
        return f"{text}\n{self['why']}{rows}"


class Strategy:
    """One strategy, live: every status field of CONTRACTS is an attribute, current at each access."""

    def __init__(self, workspace: Workspace, id: str) -> None:
        self._workspace = workspace
        self.id = id

    # -- what is known ----------------------------------------------------------------------------------------------

    @property
    def workspace(self) -> Workspace:
        """The workspace this strategy belongs to."""
        return self._workspace

    @property
    def _row(self) -> Mapping[str, Any]:
        row = self._workspace.mirror.row(self.id)
        if row is None:
            raise NotFound(f"{self.id} is not registered any more", code="STRATEGY_NOT_FOUND")
        return row

    def __getattr__(self, name: str) -> Any:
        """Any other status field (`version`, `mode`, `hold`, `restarts`, `next_start`, `exit_code`, …)."""
        if not name.startswith("_"):
            row = self._row
            if name in row:
                return row[name]
        raise AttributeError(f"a strategy has no {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(self._workspace.mirror.row(self.id) or {})})

    @property
    def state(self) -> str:
        """stopped, starting, running, stopping, backoff, exited, fatal or lost."""
        return str(self._row["state"])

    @property
    def why(self) -> str:
        """The reason for the state, in words."""
        return str(self._row["why"] or "")

    @property
    def pid(self) -> int | None:
        """The leader's PID; None unless it is alive."""
        return self._row["pid"]  # type: ignore[no-any-return]

    @property
    def cpu_percent(self) -> float | None:
        """CPU of the whole tree in percent of one core, a second old at most; None unless it runs."""
        return self._figure(0)

    @property
    def memory_mb(self) -> float | None:
        """Memory of the whole tree in MiB; None unless it runs."""
        return self._figure(1)

    @property
    def uptime_s(self) -> float | None:
        """Seconds since the leader started; None unless it is alive."""
        self._workspace.mirror.catch_up()
        return self._workspace.mirror.uptime_s(self.id)

    @property
    def model(self) -> Model:
        """The Param object that follows it, to bind to: `pn.bind(view, ws["ema"].model.param.state)`."""
        self._row  # noqa: B018 - raises NotFound for one that is gone
        return self._workspace.mirror.model(self.id)

    def _figure(self, place: int) -> float | None:
        alive = self._row["pid"] is not None
        return self._workspace.mirror.usage.get(self.id, (None, None))[place] if alive else None

    # -- acting -----------------------------------------------------------------------------------------------------

    def start(
        self, *, args: Sequence[str] | None = None, deploy: bool | None = None, wait: bool = True, **params: Any
    ) -> Strategy:
        """Start it, with parameters of its own (`start(fast=12)`); returns when it runs. Raises what stopped it."""
        body = {"params": params or None, "args": list(args) if args is not None else None, "deploy": deploy}
        return self._act("start", wait, {name: value for name, value in body.items() if value is not None})

    def stop(self, *, wait: bool = True) -> Strategy:
        """Stop it and keep it stopped until a person starts it; returns when its last process is gone."""
        return self._act("stop", wait)

    def restart(self, *, wait: bool = True) -> Strategy:
        """Stop, then start with the same version, mode, parameters and arguments."""
        return self._act("restart", wait)

    def kill(self) -> Strategy:
        """End its whole tree at once, without grace."""
        return self._act("kill", True)

    def reset(self) -> Strategy:
        """Clear `fatal` or `lost` after you have looked."""
        return self._act("reset", True)

    def pause(self) -> Strategy:
        """Let nothing start it by itself."""
        return self._act("pause", True)

    def resume(self) -> Strategy:
        """Give it back to its schedule."""
        return self._act("resume", True)

    def deploy(self) -> Strategy:
        """Make the working copy the next version."""
        return self._act("deploy", True)

    def rollback(self, n: int) -> Strategy:
        """Go back to version `n` from the next start on."""
        return self._act("rollback", True, {"n": n})

    def _act(self, action: str, wait: bool, body: Any = None) -> Strategy:
        query = None if wait else {"wait": 0}
        self._workspace.change("POST", strategy_path(self.id, action), body, query)
        return self

    def configure(self, **changes: Any) -> Strategy:
        """Merge changes into the configuration, like `limits={"memory_mb": 512}`; refused if another was first."""
        api = self._workspace.api
        etag = str(self._row["etag"]).strip('"')
        answer = api.exchange("PATCH", strategy_path(self.id), body=changes, headers={"If-Match": f'"{etag}"'})
        self._workspace.mirror.wait_seq(int(answer.headers.get("x-stratpanel-seq", "0")))
        return self

    # -- its past ---------------------------------------------------------------------------------------------------

    def tail(self, n: int = 20) -> Lines:
        """The last `n` lines of its log."""
        return Lines(line["text"] for line in self._log(n))

    def _log(self, n: int) -> list[dict[str, Any]]:
        return list(self._get("logs", lines=n)["lines"])

    def _get(self, *rest: str, **query: Any) -> Any:
        return self._workspace.api.get(strategy_path(self.id, *rest), query)

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration."""
        return dict(self._get()["config"])

    @property
    def source(self) -> str:
        """The working copy's code."""
        return str(self._get("source"))

    @property
    def schedule(self) -> ScheduleView:
        """When it runs, what that means now, and the next starts and stops."""
        view = ScheduleView(config=self._get()["config"].get("schedule") or {}, **self._get("schedule", "explain"))
        view.strategy = self
        return view

    @property
    def logs(self) -> pd.DataFrame:
        """The last 1,000 lines: text and run_id by time. Alone in a cell it shows the live log."""
        frame = frame_of(self._log(LOG_LINES), ["time", "text", "run_id"], times=["time"], more=False)
        return self._live(frame, "logs")

    @property
    def runs(self) -> pd.DataFrame:
        """Past runs, newest first. Alone in a cell it shows them live."""
        return self._live(frame_of(self._get("runs")["runs"], ["run_id"], times=["started", "ended"]), "runs")

    @property
    def usage(self) -> pd.DataFrame:
        """CPU (percent of one core), memory (MiB), threads and open files of the last hour, by time.

        Alone in a cell it shows live charts.
        """
        import pandas as pd

        since = datetime.now(UTC) - timedelta(hours=1)
        data = self._get("usage", since=since.isoformat())
        columns = {name: data[name] for name in ("cpu_percent", "memory_mb", "threads", "open_files")}
        zone = datetime.now().astimezone().tzinfo
        index = pd.to_datetime(data["t"], unit="s", utc=True).tz_convert(zone)
        frame = pd.DataFrame(columns, index=index.rename("time"), dtype="float64")
        return self._live(frame.loc[frame.first_valid_index() :] if len(frame) else frame, "resources")

    def _live(self, frame: pd.DataFrame, part: str) -> pd.DataFrame:
        """The same DataFrame, which a cell shows as this part of the page; what is made of it stays plain."""
        from stratpanel.client.frames import LiveFrame

        return LiveFrame.of(frame, Part(self, part, repr(frame)))

    @property
    def metrics(self) -> pd.DataFrame:
        """What the newest run reported with `live.metric(...)`, a column each, by time. In a cell: live."""
        return self._live(self.reports_of().metrics, "live")

    @property
    def signals(self) -> pd.DataFrame:
        """What the newest run reported with `live.signal(...)`: side and fields by time. In a cell: live."""
        return self._live(self.reports_of().signals, "live")

    def reports_of(self, run: str | None = None) -> Reports:
        """Metrics, signals and notes of one run; of the newest one that reported unless a run_id is given."""
        return Reports.of(self._get("live", run=run))

    def compare(self, *which: str | int | Strategy, metric: str | None = None, by: Basis = "start") -> Comparison:
        """Runs drawn over each other: run ids, version numbers, "paper", "live", other strategies (their newest run).

        With one or none given, this strategy's newest reporting runs complete it to two. `by` is "start" (time since
        each start) or "clock"; `metric` picks one. Raises NotFound when there is nothing to compare.
        """
        return compared(self, which, metric=metric, by=by)

    def check(self) -> Findings:
        """What is wrong with the working copy before it runs: syntax, names, secrets, imports; empty if nothing."""
        checks = import_module(CHECKS)
        found = checks.check(self.source, interpreter=checks.interpreter_of(self.config))
        return Findings(str(finding) for finding in found)

    @property
    def parameters(self) -> dict[str, Any]:
        """Name and default of each parameter of the script's Param class. Raises InvalidValue if unreadable."""
        found = self._get("parameters")
        if found["problem"]:
            raise InvalidValue(f"cannot read the parameters of {self.id}: {found['problem']}")
        return {row["name"]: row["default"] for row in found["parameters"]}

    def promote(self, mode: str = "live", *, yes: str | None = None) -> Strategy:
        """Let the deployed version trade live, after showing what that means and asking for the name.

        `yes` may hold the name for scripts. A new version never inherits it. Raises Conflict when it is not typed.
        """
        from stratpanel.client.promotion import ask

        ask(self, mode, yes)
        return self._act("promote", True, {"mode": mode, "version": self.version})

    def versions(self) -> pd.DataFrame:
        """Deployed versions, newest first."""
        return frame_of(self._get("versions")["versions"], ["n"], times=["created", "promoted_at"])

    def diff(self, from_: int | None = None, to: int | None = None) -> Lines:
        """What changed between two versions; by default from the deployed one to the working copy."""
        answer = self._get("diff", **{"from": from_, "to": to})
        return Lines(str(answer["diff"]).splitlines())

    def __repr__(self) -> str:
        row = self._workspace.mirror.row(self.id)
        if row is None:
            return f"{self.id}: not registered any more"
        parts = [f"{self.id}: {row['state']}"]
        if row["pid"] is not None:
            parts.append(f"pid {row['pid']}")
        if self.memory_mb is not None:
            parts.append(f"{self.memory_mb:.0f} MB")
        text = ", ".join(parts) + (f" ({row['why']})" if row["why"] else "")
        mirror = self._workspace.mirror
        return text if mirror.state == "live" else f"{text} [{mirror.state}, {mirror.age_s:.0f} s old]"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return show(self, include, exclude)


def frame_of(
    rows: Sequence[Mapping[str, Any]], first: Sequence[str], times: Sequence[str], *, more: bool = True
) -> pd.DataFrame:
    """Rows as a DataFrame: columns `first`, then `more` of what the rows have; those in `times` become aware times."""
    import pandas as pd

    columns = list(dict.fromkeys([*first, *(name for row in rows if more for name in row)]))
    frame = pd.DataFrame([dict(row) for row in rows], columns=columns)
    zone = datetime.now().astimezone().tzinfo
    for name in times:
        if name in frame:
            frame[name] = pd.to_datetime(frame[name], format="ISO8601", utc=True).dt.tz_convert(zone)
    return frame
