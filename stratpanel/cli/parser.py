"""The grammar of the command line: one function adds one command; the commands themselves live beside this file.

Command modules are imported when their command runs, so that parsing costs next to nothing.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from typing import Any

from stratpanel import __version__

Run = Callable[[argparse.Namespace], int]

DAYS_HELP = "mon,tue,wed,thu,fri or ranges such as mon-fri"


def parse(argv: list[str]) -> argparse.Namespace:
    """Options with `.run` set to the command's function; argparse exits with 2 on a usage error."""
    parser = build()
    _complete(parser)
    options = parser.parse_args(argv)
    if not hasattr(options, "run"):
        parser.print_help()
        parser.exit(2)
    return options


def _complete(parser: argparse.ArgumentParser) -> None:
    """Shell completion through argcomplete where it is installed and asked for by the shell."""
    import os

    if "_ARGCOMPLETE" not in os.environ:
        return
    try:
        import argcomplete
    except ImportError:  # completion is a convenience; without the package the shell just shows none
        return
    argcomplete.autocomplete(parser)


def _lazy(module: str, function: str) -> Run:
    def run(options: argparse.Namespace) -> int:
        return int(getattr(importlib.import_module(f"stratpanel.cli.{module}"), function)(options))

    return run


def build() -> argparse.ArgumentParser:
    """The whole grammar of CONTRACTS."""
    parser = argparse.ArgumentParser(
        prog="stratpanel",
        description="Operate live trading strategies: each supervised, on schedules that know markets.",
    )
    parser.add_argument(
        "-w",
        "--workspace",
        metavar="DIR",
        help="the workspace (default: $STRATPANEL_WORKSPACE, else the nearest parent with stratpanel.toml)",
    )
    parser.add_argument("--version", action="version", version=f"stratpanel {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _workspace_commands(commands)
    _strategy_commands(commands)
    _control_commands(commands)
    _show_commands(commands)
    _schedule_commands(commands)
    _service_commands(commands)
    return parser


def _add(commands: Any, name: str, help: str, module: str, function: str | None = None) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:])
    command.set_defaults(run=_lazy(module, function or name))
    return command


def _ids(command: argparse.ArgumentParser, nargs: str = "*") -> None:
    id_argument = command.add_argument("ids", metavar="ID", nargs=nargs)
    id_argument.completer = _known_ids  # type: ignore[attr-defined]
    command.add_argument("--all", action="store_true", help="every strategy of the workspace")


def _one_id(command: argparse.ArgumentParser, nargs: str | None = None) -> None:
    id_argument = command.add_argument("id", metavar="ID", nargs=nargs)
    id_argument.completer = _known_ids  # type: ignore[attr-defined]


def _known_ids(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Ids for the shell's completion, read from the registry without starting anything."""
    import json
    from pathlib import Path

    from stratpanel.client.connection import find_workspace
    from stratpanel.model.errors import StratpanelError

    try:
        workspace = find_workspace(parsed_args.workspace)
        registry = json.loads((Path(workspace) / "strategies" / "strategy_configs.json").read_text(encoding="utf-8"))
    except (StratpanelError, OSError, ValueError):  # nothing to complete from
        return []
    return [name for name in registry if name.startswith(prefix)]


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="machine-readable, as CONTRACTS describes")


def _workspace_commands(commands: Any) -> None:
    init = _add(commands, "init", "make a workspace in a folder", "workspace")
    init.add_argument("dir", metavar="DIR", nargs="?", default=".")
    up = _add(commands, "up", "start the supervisor; strategies then run as their schedules say", "workspace")
    up.add_argument("--foreground", action="store_true", help="stay, as PID 1 of a container or under systemd")
    up.add_argument("--takeover", metavar="HOST", help="take over from a host whose heartbeat is over 60 s old")
    down = _add(commands, "down", "stop strategies and supervisor", "workspace")
    down.add_argument("--keep", action="store_true", help="leave the strategies running under their runners")
    serve = _add(commands, "serve", "serve the dashboard", "workspace")
    serve.add_argument("--port", type=int, help="default: stratpanel.toml, else 5006")
    serve.add_argument("--address", help="default: stratpanel.toml, else 127.0.0.1")
    serve.add_argument("--prefix", help="URL prefix behind a proxy; default: stratpanel.toml")
    serve.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="the host name that browsers use, behind a proxy",
    )
    serve.add_argument("--unix-socket", metavar="PATH", help="listen on a socket (JupyterLab's launcher tile does)")
    serve.add_argument("--no-token", action="store_true", help="no one-time token (the page then shows a warning)")
    serve.add_argument("--no-open", action="store_true", help="do not open a browser")
    _json(_add(commands, "doctor", "say what on this machine would hurt, and what mends it", "workspace"))
    _add(commands, "reload", "read registry, settings and calendars again", "workspace")


def _strategy_commands(commands: Any) -> None:
    add = _add(
        commands, "add", "register a script, a folder with main.py, or a notebook's `strategy` cells", "strategies"
    )
    add.add_argument("path", metavar="PATH")
    add.add_argument("--id", metavar="ID")
    _one_id(_add(commands, "remove", "unregister a stopped strategy; its files stay", "strategies"))
    _one_id(_add(commands, "deploy", "make the working copy the version that runs next", "strategies"))
    versions = _add(commands, "versions", "list deployed versions", "strategies")
    _one_id(versions)
    _json(versions)
    rollback = _add(commands, "rollback", "make an earlier version the one that runs next", "strategies")
    _one_id(rollback)
    rollback.add_argument("n", metavar="N", type=int)
    promote = _add(commands, "promote", "let the deployed version trade live", "strategies")
    _one_id(promote)
    promote.add_argument("--yes", action="store_true", help="do not ask for the name to be typed")


def _control_commands(commands: Any) -> None:
    for name, help in (
        ("start", "start strategies"),
        ("stop", "stop strategies with their whole process trees; they stay stopped until somebody starts them"),
        ("restart", "stop, then start, with the same version, mode, parameters and arguments"),
        ("kill", "end strategies at once, without grace"),
        ("reset", "clear `fatal` or `lost` after you have looked"),
    ):
        command = _add(commands, name, help, "control")
        _ids(command)
        command.add_argument("--no-wait", action="store_true", help="return at once")
        if name == "start":
            command.add_argument("--param", action="append", default=[], metavar="NAME=VALUE")
            command.add_argument(
                "--arg",
                action="append",
                default=[],
                metavar="ARG",
                help="an argument of the script, instead of the configured ones",
            )
            command.add_argument("--deploy", action="store_true", default=None, help="deploy the working copy first")
    for name, help in (
        ("pause", "start nothing by itself any more; what runs goes on"),
        ("resume", "lift a pause or a panic, after showing what would start"),
    ):
        command = _add(commands, name, help, "control")
        _ids(command)
        command.add_argument("--yes", action="store_true", help="do not ask")
    panic = _add(
        commands, "panic", "stop everything now and refuse starts until `resume`; closes no positions", "control"
    )
    panic.add_argument("--why", default="", metavar="TEXT")


def _show_commands(commands: Any) -> None:
    status = _add(commands, "status", "show strategies, or one in full", "show")
    _one_id(status, nargs="?")
    _json(status)
    logs = _add(commands, "logs", "show or follow a strategy's output", "show")
    _one_id(logs)
    logs.add_argument("-n", "--lines", type=int, default=50)
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-t", "--times", action="store_true", help="put each line's time before it")
    logs.add_argument("--since", metavar="T", help="09:15, 2026-11-22T09:15:00+05:30, or 15m / 2h / 1d ago")
    logs.add_argument("--search", metavar="TEXT")
    logs.add_argument("--run", dest="run_id", metavar="RUN_ID")
    runs = _add(commands, "runs", "show a strategy's past runs", "show")
    _one_id(runs)
    runs.add_argument("-n", "--lines", type=int, default=20)
    _json(runs)
    events = _add(commands, "events", "show what happened and who did it", "show")
    events.add_argument("-f", "--follow", action="store_true")
    events.add_argument("-n", "--lines", type=int, default=50)
    _json(events)


def _schedule_commands(commands: Any) -> None:
    schedule = _add(commands, "schedule", "show or change when a strategy runs", "schedules")
    _one_id(schedule)
    schedule.add_argument("--start", metavar="TIME", help="09:20, open+5m, open-10m")
    schedule.add_argument("--stop", metavar="TIME", help="15:15, close-10m, close+15m")
    schedule.add_argument("--days", metavar="DAYS", help=DAYS_HELP)
    schedule.add_argument("--calendar", metavar="NAME", help="NSE, MCX, 24x7, XNYS …; none = plain clock")
    schedule.add_argument("--timezone", metavar="ZONE")
    schedule.add_argument("--clear", action="store_true", help="no schedule: starts by hand only")
    schedule.add_argument("--explain", action="store_true", help="why it runs or not, and the next boundaries")
    schedule.add_argument("--at", metavar="T", help="explain for another moment")
    _json(schedule)
    week = _add(commands, "week", "draw the coming week of all strategies", "schedules")
    _json(week)
    calendar = _add(commands, "calendar", "market calendars", "schedules")
    actions = calendar.add_subparsers(title="actions", metavar="ACTION", required=True)
    _json(_add(actions, "list", "list calendars and how far their data goes", "schedules", "calendar_list"))
    show = _add(actions, "show", "list a calendar's sessions", "schedules", "calendar_show")
    show.add_argument("name", metavar="NAME")
    show.add_argument("--from", dest="from_", metavar="D")
    show.add_argument("--to", metavar="D")
    _json(show)
    sync = _add(
        actions, "sync", "compile foreign calendars (needs the extra `calendars`)", "schedules", "calendar_sync"
    )
    sync.add_argument("names", metavar="NAME", nargs="+")
    mine = _add(actions, "overrides", "list your own days, sessions and hours", "schedules", "calendar_overrides")
    mine.add_argument("name", metavar="NAME", nargs="?")
    _json(mine)
    _add(actions, "check", "check calendar data and your overrides", "schedules", "calendar_check")
    close = _add(actions, "close", "override: no session on a date", "schedules", "calendar_close")
    close.add_argument("name", metavar="NAME")
    close.add_argument("date", metavar="DATE")
    close.add_argument("--why", required=True, metavar="TEXT")
    opened = _add(actions, "open", "override: a session on a date", "schedules", "calendar_open")
    opened.add_argument("name", metavar="NAME")
    opened.add_argument("date", metavar="DATE")
    opened.add_argument("hours", metavar="HH:MM-HH:MM", nargs="+")
    opened.add_argument("--partial", action="store_true", help="a shortened regular day, which every window follows")
    opened.add_argument("--why", required=True, metavar="TEXT")
    hours = _add(actions, "hours", "override: regular hours from a date on", "schedules", "calendar_hours")
    hours.add_argument("name", metavar="NAME")
    hours.add_argument("date", metavar="DATE")
    hours.add_argument("hours", metavar="HH:MM-HH:MM", nargs="+")
    hours.add_argument("--days", metavar="DAYS", help=f"{DAYS_HELP} (the default)")
    hours.add_argument("--why", required=True, metavar="TEXT")
    valid = _add(actions, "valid", "say that all days through a date are entered", "schedules", "calendar_valid")
    valid.add_argument("name", metavar="NAME")
    valid.add_argument("date", metavar="DATE")
    valid.add_argument("--why", required=True, metavar="TEXT")
    undo = _add(actions, "clear", "take an override back", "schedules", "calendar_clear")
    undo.add_argument("name", metavar="NAME")
    undo.add_argument("date", metavar="DATE")
    about = "what it says: of the day (default), of the hours from it on, or that all days through it are entered"
    undo.add_argument("--about", choices=("day", "hours", "valid"), default="day", help=about)


def _service_commands(commands: Any) -> None:
    token = _add(commands, "token", "the API's token", "workspace")
    token.add_argument("action", choices=("show", "rotate"))
    service = _add(commands, "service", "start with the machine (systemd user unit, else cron)", "workspace")
    service.add_argument("action", choices=("print", "install"))
    completion = _add(commands, "completion", "print the shell completion to source", "workspace")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
