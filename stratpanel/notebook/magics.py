"""`%load_ext stratpanel`: `%%strategy` saves a cell as a strategy, `%strategies`, `%logs` and `%stop` operate it.

The magic saves and deploys; it starts nothing unless asked. Everything goes through the client, so that the cell, the
web page and the command line are one thing seen from three places.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from stratpanel.client.connection import Api, deployed_version, find_workspace, strategy_path
from stratpanel.model.errors import NotFound, StratpanelError
from stratpanel.model.states import LIVE
from stratpanel.notebook.checks import Finding, check, interpreter_of

WINDOW = re.compile(r"^\s*(?P<start>[^.\s]+)\s*\.\.\s*(?P<stop>[^.\s]+)\s*$")


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext stratpanel` calls: register the magics and their completion."""
    magics = StrategyMagics(shell)
    shell.register_magics(magics)
    for name in ("%logs", "%stop", "logs", "stop"):
        shell.set_hook("complete_command", lambda _shell, event: magics.known_ids(), str_key=name)


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of ending the kernel."""

    def error(self, message: str) -> Any:
        raise UsageError(f"{self.prog}: {message}\n{self.format_usage()}")


def _strategy_parser() -> _Parser:
    parser = _Parser(prog="%%strategy", add_help=False)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--schedule", metavar='"open+5m..close-10m"')
    parser.add_argument("--calendar", metavar="NSE")
    parser.add_argument("--days", metavar="mon-fri")
    parser.add_argument("--mode", choices=("paper", "live"), default="paper")
    parser.add_argument("--with", dest="tags", action="append", default=[], metavar="CELLTAG")
    parser.add_argument("--start", action="store_true")
    return parser


@magics_class
class StrategyMagics(Magics):  # type: ignore[misc]
    """The magics; one Api a workspace, found from the kernel's working directory."""

    def _api(self) -> Api:
        api = Api(find_workspace(), by="notebook")
        api.ensure()
        return api

    def known_ids(self) -> list[str]:
        """Ids for tab completion; empty when no supervisor answers."""
        try:
            return [row["id"] for row in self._api().get("/api/strategies")["strategies"]]
        except StratpanelError:  # completion must never raise into the user's typing
            return []

    @cell_magic  # type: ignore[untyped-decorator]
    def strategy(self, line: str, cell: str) -> None:
        """Save the cell as strategy NAME and deploy a version; unchanged = nothing happens; `--start` starts it."""
        options = _strategy_parser().parse_args(shlex.split(line))
        if options.mode == "live":
            raise UsageError(
                "%%strategy deploys for paper; look at it, then promote it: "
                f'ws["{options.name}"].promote("live") shows the difference and asks for the name'
            )
        schedule = schedule_of(options)
        try:
            source = "".join([*(cell_tagged(tag) for tag in options.tags), cell])
            print("\n".join(self._save(options, source, schedule)))
        except StratpanelError as error:
            raise UsageError("\n".join([error.message, *(f"  {k}: {v}" for k, v in error.fields.items())])) from None

    def _save(self, options: argparse.Namespace, source: str, schedule: dict[str, Any]) -> list[str]:
        api = self._api()
        path = strategy_path(options.name)
        known = self._lookup(api, path)
        findings = check(
            source, notebook_names=self._names(), interpreter=interpreter_of((known or {}).get("config", {}))
        )
        if findings:
            raise UsageError(refusal(options.name, findings))
        if schedule:  # refused before anything is saved
            before = ((known or {}).get("config") or {}).get("schedule") or {}
            api.post("/api/schedule/explain", {"schedule": before | schedule})
        if known is None:
            api.post("/api/strategies", {"id": options.name, "source": source})
        elif api.get(f"{path}/source") != source:
            api.put(f"{path}/source", source)
        answer = api.post(f"{path}/deploy")
        ran = answer["strategy"]["state"] in LIVE
        if schedule:  # now that the version is there: an open window starts it at once, and not the version before
            api.patch(path, {"schedule": schedule})
        version = deployed_version(api, path)
        said = [f"{options.name}: {_deployed(known, answer, version)}"]
        said += [f"  warning: {text}" for text in answer.get("warnings", [])]
        row = api.get(path)
        if options.start:
            if row["state"] in LIVE:  # a restart would keep the version that runs
                api.post(f"{path}/stop")
            started = api.post(f"{path}/start")["strategy"]
            said.append(f"  {started['state']}: {started['why']}")
        elif ran and row["version"] != version:
            said.append("  it runs on with its earlier version until it is restarted")
        elif row["config"]["schedule"]["enabled"]:
            said.append(f"  {row['state']}: {row['why']}; its schedule starts and stops it")
        elif ran:
            said.append(f"  {row['state']}: {row['why']}")
        else:
            said.append(f"  {row['state']}; start it with --start, or ws[{options.name!r}].start()")
        return said

    def _names(self) -> list[str]:
        return [name for name in self.shell.user_ns if not name.startswith("_")]

    @staticmethod
    def _lookup(api: Api, path: str) -> dict[str, Any] | None:
        try:
            row: dict[str, Any] = api.get(path)
        except NotFound:
            return None
        return row

    @line_magic  # type: ignore[untyped-decorator]
    def strategies(self, line: str) -> None:
        """All strategies, a line each."""
        rows = self._api().get("/api/strategies")["strategies"]
        width = max((len(row["id"]) for row in rows), default=0)
        for row in rows:
            print(f"{row['id']:<{width}}  {row['state']:<9} {row['why'] or ''}")
        if not rows:
            print("no strategies yet; %%strategy NAME makes one of a cell")

    @line_magic  # type: ignore[untyped-decorator]
    def logs(self, line: str) -> None:
        """`%logs NAME [-n 50]`: the newest lines of a strategy's log."""
        parser = _Parser(prog="%logs", add_help=False)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("-n", type=int, default=50)
        options = parser.parse_args(shlex.split(line))
        page = self._api().get(f"{strategy_path(options.name)}/logs", {"lines": options.n})
        for row in page["lines"]:
            print(row["text"])

    @line_magic  # type: ignore[untyped-decorator]
    def stop(self, line: str) -> None:
        """`%stop NAME`: stop a strategy with its whole process tree; it stays stopped until somebody starts it."""
        parser = _Parser(prog="%stop", add_help=False)
        parser.add_argument("name", metavar="NAME")
        options = parser.parse_args(shlex.split(line))
        answer = self._api().post(f"{strategy_path(options.name)}/stop")
        print(f"{options.name}: {answer['strategy']['state']} ({answer['strategy']['why']})")


def schedule_of(options: argparse.Namespace) -> dict[str, Any]:
    """The change of the schedule that the options ask for; empty when they ask for none."""
    change: dict[str, Any] = {}
    if options.schedule:
        match = WINDOW.match(options.schedule)
        if not match:
            raise UsageError(f"--schedule {options.schedule!r} is not START..STOP, for example open+5m..close-10m")
        window: dict[str, Any] = match.groupdict()
        if options.days:
            window["days"] = [day.strip() for day in options.days.split(",")]
        change = {"enabled": True, "windows": [window]}
    elif options.days:
        raise UsageError("--days belongs to --schedule START..STOP")
    if options.calendar:
        change["calendar"] = options.calendar
    return change


def refusal(name: str, findings: list[Finding]) -> str:
    """Why nothing was saved, one line a finding."""
    return "\n".join([f"{name} was not saved:", *(f"  {finding}" for finding in findings)])


def _deployed(known: dict[str, Any] | None, answer: dict[str, Any], version: int | None) -> str:
    if known is None:
        return f"registered, version {version}"
    return f"deployed version {version}" if answer["changed"] else f"unchanged, version {version}"


def notebook_path() -> Path:
    """The notebook this kernel belongs to, as its server or editor tells; NotFound with the way on."""
    named = os.environ.get("JPY_SESSION_NAME")
    if not named:
        from IPython import get_ipython

        shell = get_ipython()
        named = shell.user_ns.get("__vsc_ipynb_file__") if shell else None
    path = Path(named) if named else None
    if path is None or not path.is_file():
        raise NotFound("cannot tell which notebook this is, so --with finds no cells; put the code into this cell")
    return path


def cell_tagged(tag: str) -> str:
    """The source of the saved notebook's code cells that have the tag, in order."""
    import nbformat

    path = notebook_path()
    document = nbformat.read(path, as_version=4)
    found = [c.source for c in document.cells if c.cell_type == "code" and tag in c.get("metadata", {}).get("tags", [])]
    if not found:
        raise NotFound(f"no cell of {path.name} has the tag {tag!r}; tag it and save the notebook")
    return "".join(f"{source.rstrip()}\n\n\n" for source in found)
