"""A runner killed at any of its own function calls, while it starts, serves, stops or ends a run.

The launcher runs with a hook that makes the first runner of a run count its calls and end itself at a chosen one; the
replacement is left in peace. Wherever it dies, the promises hold.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
from typing import Any

import pytest

from stratpanel.process import records, wake
from stratpanel.process.channel import ChannelClosed
from tests.process.bench import Bench, Line, kill
from tests.support import wait_for

# Put in front of the launcher: the first runner of each run counts calls of functions of our own package.
HOOK = """
import os, signal, sys
from stratpanel.process import launcher, runner
kill_at = int(sys.argv.pop(1))
start = runner._start
def counting(*args):
    left = [kill_at]
    def on_call(frame, event, arg):
        if event == "call" and "stratpanel/process" in frame.f_code.co_filename:
            left[0] -= 1
            if left[0] == 0:
                name = frame.f_code.co_qualname if hasattr(frame.f_code, "co_qualname") else frame.f_code.co_name
                os.write(2, f"killed at {name}\\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(on_call)
    return start(*args)
runner._start = counting
sys.exit(launcher.main(sys.argv[1:]))
"""

STRATEGY = """
import os, signal, sys
open("started", "a").write(f"{os.getpid()}\\n")
def end(*_):
    os.write(1, b"last line\\n")
    os._exit(9)
signal.signal(signal.SIGTERM, end)
os.write(1, b"first line\\n")
signal.pause()
"""

SEED = int(os.environ.get("SP_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
TRIALS = int(os.environ.get("SP_TRIALS", "12"))
# Calls of a whole life of this run, a little more than there are.
CALLS = 480


def launch(bench: Bench, kill_at: int) -> None:
    bench.want()
    arguments = [str(kill_at), "--detach", str(bench.runtime.workspace), str(bench.runtime.root)]
    argv = [sys.executable, "-P", "-c", HOOK, *arguments]
    log = os.fspath(bench.runtime.supervisor_log)
    pid = os.posix_spawn(
        argv[0],
        argv,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)],
    )
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    bench.connect_launcher()


def first_word(bench: Bench, line: Line, run_id: str) -> str:
    """How the start turned out: it runs, it was never begun and is over, or it left no trace."""

    def known() -> str | None:
        line.pump(0.005)
        status = records.read_json(bench.runtime.status("ema"))
        mine = status is not None and status["run_id"] == run_id
        record = records.read_json(bench.runtime.exit("ema"))
        if record is not None and record["run_id"] == run_id:
            return "over"
        if mine and status is not None and "first line" in bench.log():
            return "runs"
        if line.closed and not mine and not bench.members(run_id):
            return "no trace"
        return None

    return str(wait_for(known, 15, "a word of the start"))


@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_runner_killed_anywhere_loses_nothing(bench: Bench, trial: int) -> None:
    kill_at = random.Random(SEED * 1000 + trial).randrange(1, CALLS)
    print(f"seed {SEED}, killed at call {kill_at}")
    launch(bench, kill_at)
    spec = bench.spec(STRATEGY)
    line, answer = bench.spawn(spec)
    assert answer["ok"]
    started = bench.runtime.workspace / "started"
    word = first_word(bench, line, spec["run_id"])
    if word == "runs":
        (pid,) = started.read_text().split()
        stop_it(bench, spec["run_id"])
        record = bench.exit()
        assert record["run_id"] == spec["run_id"]
        assert record["exit_code"] in (9, None), record
        assert (record["exit_code"] is None) == (record["route"] == "unknown"), record
        assert record["stopped_by_us"] is True
        assert bench.log() == "first line\nlast line\n"
        assert started.read_text().split() == [pid]
    else:
        # killed before its go: the child left by itself, and nothing of it ever ran
        assert not started.exists()
        if word == "over":
            record = bench.exit()
            assert (record["began"], record["stopped_by_us"]) == (False, False), record
    assert bench.members(spec["run_id"]) == []
    died = [entry for entry in bench.runtime.supervisor_log.read_text().splitlines() if entry.startswith("killed at")]
    print(*died or ["it lived"])
    # whatever happened, the next start works, and is the only one
    wait_for(lambda: try_again(bench), 15, "another start")


def stop_it(bench: Bench, run_id: str) -> None:
    """Ask until it is on record as stopping: the one who was asked may die before it understands."""

    def asked() -> bool:
        record: dict[str, Any] | None = records.read_json(bench.runtime.exit("ema"))
        if (record is not None and record["run_id"] == run_id) or bench.status()["stop"] is not None:
            return True
        line = bench.runner()
        with contextlib.suppress(ChannelClosed):  # the runner died with the question in its hands
            line.channel.send({"op": "stop", "n": 1, "reason": "stop", "by": "ann"})
            line.pump(0.2)
        return False

    wait_for(asked, 15, "a stop on record")


def try_again(bench: Bench) -> bool:
    """A start that is not itself killed: through a launcher without the hook."""
    kill(bench.launcher_pid())
    bench._launcher = None
    wake.start_launcher(bench.runtime)
    line, answer = bench.spawn(bench.spec("print('again')"))
    assert answer["ok"], answer
    while not line.closed and not any(message.get("ev") in ("exit", "refused") for message in line.heard):
        line.pump(0.1)
    ends = [message for message in line.heard if message.get("ev") in ("exit", "refused")]
    assert ends, json.dumps(line.heard)
    assert ends[0]["ev"] == "exit" or ends[0]["code"] == "LOCKED", ends
    return bool(ends[0]["ev"] == "exit")
