"""`connect()` and what it gives: a workspace and handles of its strategies, for notebooks, scripts and programs.

Handles read the live mirror and call the API; a call that changes something returns when the mirror has seen it. pandas
is imported only by the properties that return DataFrames.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stratpanel.client.connection import Api, find_workspace, strategy_path
from stratpanel.client.mirror import Mirror, State, shared_mirror
from stratpanel.client.showing import show
from stratpanel.client.strategy import Lines, Strategy, frame_of
from stratpanel.model.errors import InvalidValue, NotFound

if TYPE_CHECKING:
    import pandas as pd

TIMELINE = "stratpanel.dashboard.timeline"
"""The module that draws the week."""

PROMOTE = "stratpanel.notebook.promote"
"""The module that makes a script of a notebook, looked up by name as well."""


def connect(path: str | os.PathLike[str] = ".", *, by: str | None = None) -> Workspace:
    """The workspace at `path` (or the nearest above the working directory), its supervisor started if none runs.

    After a `stratpanel down` it comes up paused: nothing starts by itself until `resume`. Raises NotFound when there is
    no workspace, NoSupervisor when none can run, Conflict when it is of another version.
    """
    folder = find_workspace(None if os.fspath(path) == "." else path)
    api = Api(folder, by=by or f"python:{_user()}")
    api.ensure()
    return Workspace(api)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        return "unknown"


class Strategies(Mapping[str, Strategy]):
    """All strategies by id, as handles; live."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def __getitem__(self, id: str) -> Strategy:
        if not isinstance(id, str) or id not in self._workspace.mirror.strategies:
            raise KeyError(id)
        return Strategy(self._workspace, id)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._workspace.mirror.strategies))

    def __len__(self) -> int:
        return len(self._workspace.mirror.strategies)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.values())) or 'no strategies yet; ws.add("path/to/script.py") registers one'


class Workspace:
    """One workspace and its supervisor. `ws["ema"]` is a live strategy; displaying it in a cell shows the dashboard."""

    def __init__(self, api: Api, mirror: Mirror | None = None) -> None:
        self.api = api
        self.mirror = mirror if mirror is not None else shared_mirror(api)
        self.mirror.wait_ready()

    @property
    def path(self) -> Path:
        """The workspace's folder."""
        return self.api.workspace

    @property
    def strategies(self) -> Strategies:
        """All strategies by id."""
        return Strategies(self)

    def __getitem__(self, id: str) -> Strategy:
        if id not in self.mirror.strategies and not self._just_added(id):
            known = ", ".join(sorted(self.mirror.strategies)[:20]) or "none"
            raise NotFound(f"there is no strategy {id!r}; registered: {known}", code="STRATEGY_NOT_FOUND")
        return Strategy(self, id)

    def _just_added(self, id: str) -> bool:
        """Whether the supervisor knows it although the mirror does not yet: somebody else registered it just now."""
        try:
            answer = self.api.exchange("GET", strategy_path(str(id)))
        except (NotFound, InvalidValue):
            return False
        self.mirror.wait_seq(int(answer.headers.get("x-stratpanel-seq", "0")))
        return id in self.mirror.strategies

    def __iter__(self) -> Iterator[str]:
        return iter(self.strategies)

    def __len__(self) -> int:
        return len(self.strategies)

    def __contains__(self, id: object) -> bool:
        return id in self.mirror.strategies

    @property
    def supervisor(self) -> dict[str, Any]:
        """The supervisor's own status: pid, state, why, version, url, started."""
        self.mirror.catch_up()
        return dict(self.mirror.supervisor)

    @property
    def state(self) -> State:
        """`live`, `stale` or `down`: whether what you see is current."""
        return self.mirror.state

    @property
    def age_s(self) -> float:
        """Seconds since the supervisor last spoke."""
        return self.mirror.age_s

    def add(self, path: str | os.PathLike[str], id: str | None = None) -> Strategy:
        """Register a script: in place if it lies in strategies/scripts, else a copy of it."""
        script = Path(path).expanduser().resolve()
        name = id or (script.parent.name if script.name == "main.py" else script.stem)
        self.change("POST", "/api/strategies", {"id": name, "path": str(script)})
        return self[name]

    def promote_notebook(self, path: str | os.PathLike[str], id: str | None = None) -> Strategy:
        """Register the cells tagged `strategy` (and `parameters`) of a notebook as a script, or save them into it."""
        notebook = Path(path).expanduser().resolve()
        source = str(import_module(PROMOTE).script_of(notebook))
        name = id or notebook.stem
        if name in self:
            self.change("PUT", f"{strategy_path(name)}/source", source)
        else:
            self.change("POST", "/api/strategies", {"id": name, "source": source})
        return self[name]

    def week(self) -> Any:
        """The coming week of all strategies as a Bokeh figure, in the workspace's time zone."""
        rows = self.api.get("/api/week")["rows"]
        return import_module(TIMELINE).week_figure(rows, str(self.supervisor["timezone"]))

    def panic(self, why: str = "") -> dict[str, Any]:
        """Stop everything at once and let nothing start until `resume`."""
        return dict(self.change("POST", "/api/panic", {"why": why}))

    def pause(self) -> dict[str, Any]:
        """Nothing starts by itself any more; what runs goes on, stops still happen."""
        return dict(self.change("POST", "/api/pause"))

    def resume(self, yes: bool = False) -> dict[str, Any]:
        """What would start if pause or panic were lifted; with yes=True it is lifted."""
        return dict(self.change("POST", "/api/resume", {"confirm": True} if yes else {"dry_run": True}))

    def reload(self) -> dict[str, Any]:
        """Read registry, settings and calendars again."""
        return dict(self.change("POST", "/api/reload"))

    @property
    def events(self) -> pd.DataFrame:
        """The last events as a DataFrame: time, type, id, by, message."""
        columns = ["time", "type", "id", "by", "message", "status", "exit_code"]
        return frame_of(self.api.get("/api/events")["events"], columns, times=["time"], more=False)

    def change(self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """Call the API and return its answer once the mirror has seen what it changed."""
        answer = self.api.exchange(method, path, body=body, query=query)
        seq = answer.headers.get("x-stratpanel-seq", "")
        if seq.isdigit():
            self.mirror.wait_seq(int(seq))
        return answer.data

    def close(self) -> None:
        """Stop following; supervisor and strategies go on."""
        self.mirror.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        self.mirror.catch_up()
        told = self.mirror.supervisor
        head = f"{self.path}: supervisor {told.get('state', 'unknown')}, pid {told.get('pid')}"
        if told.get("why"):
            head += f", {told['why']}"
        if self.state != "live":
            head += f" [{self.state}, {self.age_s:.0f} s old: {self.mirror.problem}]"
        return f"{head}\n{self.strategies!r}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return show(self, include, exclude)


__all__ = ["Lines", "Strategies", "Strategy", "Workspace", "connect"]
