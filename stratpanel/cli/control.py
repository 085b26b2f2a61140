"""Commands that change what runs: start, stop, restart, kill, reset, pause, resume, panic.

`stop`, `kill` and `panic` never start a supervisor and work with nothing of ours alive: then this process reads the
status files and ends the trees itself (`offline`).
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from stratpanel.cli import DONE, NOT_DONE, exit_code, offline
from stratpanel.cli.session import connect, for_each, workspace_of
from stratpanel.client.connection import Api
from stratpanel.model.errors import StratpanelError

PAST = {
    "start": "started",
    "stop": "stopped",
    "restart": "restarted",
    "kill": "killed",
    "reset": "reset",
    "pause": "paused",
    "resume": "resumed",
}


def _chosen(options: argparse.Namespace, api: Api | None) -> list[str]:
    if options.all and not options.ids:
        if api is None:
            return offline.known_ids(workspace_of(options))
        return [row["id"] for row in api.get("/api/strategies")["strategies"]]
    if options.ids and not options.all:
        return list(dict.fromkeys(options.ids))
    raise StratpanelError("name the strategies, or say --all (not both)", code="USAGE")


def _tell(verb: str, results: list[tuple[str, Any]]) -> int:
    """One line for each id; the exit code of the worst."""
    worst = DONE
    for strategy_id, result in results:
        if isinstance(result, StratpanelError):
            details = "; ".join(f"{field}: {problem}" for field, problem in result.fields.items())
            line = result.message if not details or details in result.message else f"{result.message} ({details})"
            print(f"stratpanel: {strategy_id}: {line}", file=sys.stderr)
            worst = exit_code(result) if len(results) == 1 else NOT_DONE
            continue
        strategy = result.get("strategy") or {}
        done = PAST[verb] if result.get("changed") else f"unchanged, {strategy.get('state', 'not running')}"
        pid = f", pid {strategy['pid']}" if verb in ("start", "restart") and strategy.get("pid") else ""
        why = f" ({strategy['why']})" if strategy.get("why") else ""
        print(f"{strategy_id}: {done}{pid}{why}")
    return worst


def _act(options: argparse.Namespace, verb: str, body: dict[str, Any] | None = None) -> int:
    api = connect(options)
    return _tell(verb, _act_on(options, api, verb, body))


def _act_on(
    options: argparse.Namespace, api: Api, verb: str, body: dict[str, Any] | None = None
) -> list[tuple[str, Any]]:
    """Of all chosen ones the answer or the error; none chosen (`--all` of nothing) is no call at all."""
    ids = _chosen(options, api)
    return api.act(verb, ids, body, wait=not getattr(options, "no_wait", False)) if ids else []


def start(options: argparse.Namespace) -> int:
    """Start; `--param` and `--arg` hold for this run and its restarts."""
    body: dict[str, Any] = {}
    if options.param:
        body["params"] = dict(_pair(item) for item in options.param)
    if options.arg:
        body["args"] = options.arg
    if options.deploy:
        body["deploy"] = True
    return _act(options, "start", body)


def _pair(item: str) -> tuple[str, Any]:
    import json

    name, equals, text = item.partition("=")
    if not equals or not name:
        raise StratpanelError(f"--param {item!r} is not NAME=VALUE", code="USAGE")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text  # a plain word is a string


def restart(options: argparse.Namespace) -> int:
    """Stop and start again with the run's own version, mode, parameters and arguments."""
    return _act(options, "restart")


def reset(options: argparse.Namespace) -> int:
    """Clear `fatal` or `lost`."""
    return _act(options, "reset")


def stop(options: argparse.Namespace) -> int:
    """Stop with grace; a stopped one stays so and that is success."""
    return _end(options, "stop")


def kill(options: argparse.Namespace) -> int:
    """SIGKILL the whole tree at once."""
    return _end(options, "kill")


def _end(options: argparse.Namespace, verb: str) -> int:
    workspace = workspace_of(options)
    api = connect(options, start=False)
    if not api.reachable():
        ids = _chosen(options, None)
        return _tell(verb, for_each(ids, lambda i: offline.end(workspace, i, kill=verb == "kill")))
    return _tell(verb, _act_on(options, api, verb))


def panic(options: argparse.Namespace) -> int:
    """Stop every tree in parallel; refuse starts until `resume`. Positions at the broker stay as they are."""
    workspace = workspace_of(options)
    api = connect(options, start=False)
    try:
        reachable = api.reachable()
        answer = api.post("/api/panic", {"why": options.why}) if reachable else offline.panic(workspace, options.why)
    except StratpanelError as error:  # of another version, hung, in trouble: nothing of ours may stand in the way
        print(f"stratpanel: {error.message}; ending everything from here", file=sys.stderr)
        answer = offline.panic(workspace, options.why)
    ended = answer.get("stopped", [])
    print(
        f"panic: {len(ended)} stopped"
        + (f" ({', '.join(ended)})" if ended else "")
        + "; starts are refused until `stratpanel resume`"
    )
    print("stopping a process closes no position: look at your broker")
    left, script = answer.get("left", []), answer.get("not_run")
    for strategy_id in left:
        print(f"stratpanel: {strategy_id}: still alive, run `stratpanel panic` again", file=sys.stderr)
    if left and script:
        print(f"stratpanel: {script} was not run: it waits until everything has ended", file=sys.stderr)
    if left:
        return NOT_DONE
    from stratpanel.cli.flatten import run_script

    return run_script(api, script) if script else DONE


def pause(options: argparse.Namespace) -> int:
    """Pause the workspace, or the strategies named."""
    api = connect(options)
    if options.ids:
        return _tell("pause", api.act("pause", list(dict.fromkeys(options.ids))))
    api.post("/api/pause")
    print("paused: nothing starts by itself until `stratpanel resume`; what runs goes on, and stops still happen")
    return DONE


def resume(options: argparse.Namespace) -> int:
    """Lift pause or panic: list what would start, ask, do it."""
    api = connect(options)
    if options.ids:
        return _tell("resume", api.act("resume", list(dict.fromkeys(options.ids))))
    would_start = api.post("/api/resume", {"dry_run": True}).get("would_start", [])
    for item in would_start:
        print(f"  would start {item['id']}: {item['why']}")
    if not would_start:
        print("nothing would start now")
    if not options.yes and not _agreed("resume? [y/N] "):
        print("stratpanel: not resumed; say yes, or give --yes", file=sys.stderr)
        return NOT_DONE
    api.post("/api/resume", {"confirm": True})
    print("resumed")
    return DONE


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # no terminal: a script has to say --yes
        print()
        return False
