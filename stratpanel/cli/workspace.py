"""Commands about the workspace itself: init, up, down, serve, doctor, reload, token, service, completion."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from stratpanel.cli import DONE, NOT_DONE, offline
from stratpanel.cli.session import connect, who, workspace_of
from stratpanel.client.connection import Api
from stratpanel.model.errors import StratpanelError
from stratpanel.process import records, wake
from stratpanel.process.paths import Runtime

DOWN_DEADLINE_S = 60.0


def init(options: argparse.Namespace) -> int:
    """Make a workspace; what is there already stays as it is."""
    from stratpanel.supervisor.workspace import init as make

    folder = Path(options.dir).resolve()
    report = make(folder)
    for name in report.created:
        print(f"made {name}")
    for message in report.messages:
        print(message)
    print(f"workspace ready: {folder}; next: cd {options.dir} && stratpanel up")
    return DONE


def up(options: argparse.Namespace) -> int:
    """Start launcher and supervisor and wait until they answer; lift the pause that `down` left."""
    workspace = workspace_of(options)
    runtime = Runtime.of(workspace)
    if options.takeover:
        wake.take_over(runtime, options.takeover)
    if options.foreground:
        from stratpanel.cli.foreground import stay

        return stay(workspace)
    api = bring_up(workspace)
    supervisor = api.get("/api/supervisor")
    print(
        f"supervisor {supervisor['state']}, pid {supervisor['pid']}"
        + (f": {supervisor['why']}" if supervisor.get("why") else "")
    )
    return DONE


def bring_up(workspace: Path) -> Api:
    """The API of a supervisor that a person asked for: not paused by an earlier `down`."""
    runtime = Runtime.of(workspace)
    try:
        note = records.read_json(runtime.paused)
    except records.RecordError:  # empty, from a full disk: nobody knows whose pause it is, so a person lifts it
        note = None
    lift = bool(note and note.get("kind") == "down")
    if lift:
        runtime.paused.unlink(missing_ok=True)
    api = Api(workspace, by=who())
    was_up = api.reachable()
    api.ensure()
    if was_up and lift:  # it read the pause when it started; tell it that a person lifted it
        api.post("/api/resume", {"confirm": True})
    return api


def down(options: argparse.Namespace) -> int:
    """Stop the strategies (unless --keep), the supervisor and the launcher; nothing comes back by itself."""
    workspace = workspace_of(options)
    runtime = Runtime.of(workspace)
    api = Api(workspace, by=who())
    if api.reachable():
        api.post("/api/down", {"keep": options.keep})
    else:
        offline.down(workspace, keep=options.keep)
    deadline = time.monotonic() + DOWN_DEADLINE_S
    while wake.supervisor_alive(runtime) or wake.launcher_alive(runtime):
        if time.monotonic() > deadline:
            print("stratpanel: supervisor or launcher is still alive; see log/supervisor.log", file=sys.stderr)
            return NOT_DONE
        time.sleep(0.02)
    left = offline.running_ids(workspace)
    if left and not options.keep:
        print(f"stratpanel: still alive: {', '.join(left)}; run `stratpanel kill {' '.join(left)}`", file=sys.stderr)
        return NOT_DONE
    print("down" + (f"; still running under their runners: {', '.join(left) or 'none'}" if options.keep else ""))
    return DONE


def serve(options: argparse.Namespace) -> int:
    """Bring the supervisor up and serve the dashboard until Ctrl-C; supervisor and strategies go on after it."""
    workspace = workspace_of(options)
    bring_up(workspace)
    # the page is Panel's world; the command line only starts it, in a process of its own
    import os

    command = [sys.executable, "-m", "stratpanel.dashboard.serve", "--workspace", str(workspace)]
    given = {"--port": options.port, "--address": options.address, "--prefix": options.prefix}
    for flag, value in {**given, "--unix-socket": options.unix_socket}.items():
        command += [flag, str(value)] if value is not None else []  # what is not given, stratpanel.toml says
    for origin in options.allow_origin:
        command += ["--allow-origin", origin]
    command += ["--no-token"] if options.no_token else []
    command += ["--no-open"] if options.no_open else []
    sys.stdout.flush()
    os.execv(command[0], command)


def doctor(options: argparse.Namespace) -> int:
    """Say what on this machine would hurt, and the command that mends it; exit 1 when something would."""
    from stratpanel import doctor as examination

    try:
        workspace = workspace_of(options)
    except StratpanelError:  # outside a workspace the machine alone is looked at
        if options.workspace:
            raise
        workspace = None
    return examination.run(workspace, as_json=options.json)


def reload(options: argparse.Namespace) -> int:
    """Read registry, settings and calendars again."""
    answer = connect(options).post("/api/reload")
    print("reloaded" + (f": {answer['message']}" if answer.get("message") else ""))
    return DONE


def token(options: argparse.Namespace) -> int:
    """Show or rotate the token of the API; running clients read the new one by themselves."""
    workspace = workspace_of(options)
    if options.action == "rotate":
        connect(options).post("/api/token")
    record = records.read_json(Runtime.of(workspace).connection)
    if record is None:
        raise StratpanelError("there is no token yet: no supervisor has run here; try `stratpanel up`")
    print(record["token"])
    return DONE


def service(options: argparse.Namespace) -> int:
    """Print or install what starts the workspace with the machine."""
    from stratpanel import service as units

    workspace = workspace_of(options)
    if options.action == "print":
        units.print_service(workspace)
        return DONE
    return units.install(workspace)


def completion(options: argparse.Namespace) -> int:
    """Print what the shell has to source; needs the small package argcomplete."""
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError:
        raise StratpanelError("completion needs the package argcomplete: pip install argcomplete") from None
    print(shellcode(["stratpanel"], shell=options.shell))
    return DONE


def print_json(body: object) -> int:
    """Indented JSON on standard output."""
    json.dump(body, sys.stdout, indent=2, ensure_ascii=False)
    print()
    return DONE
