"""A strategy never runs twice, and a start that cannot be is refused with a clear word and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stratpanel.process import claiming, ending, locks, previous, records, wake
from stratpanel.process.errors import ProcessError
from stratpanel.process.identity import Identity, boot_id, pid_namespace, send_signal, this_host
from stratpanel.process.paths import Runtime
from tests.process import families
from tests.process.bench import Bench, Line, Message, kill
from tests.support import pid_alive, wait_for

WAITING = "import signal; print('up', flush=True); signal.pause()"


def refused(bench: Bench, spec: dict[str, Any]) -> Message:
    """The refusal of a start, from the launcher or from the runner."""
    line, answer = bench.spawn(spec)
    return answer if not answer["ok"] else line.ev("refused")


def exit_on_disk(bench: Bench) -> dict[str, Any] | None:
    return records.read_json(bench.runtime.exit("ema"))


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        ({"argv": ["/nowhere/python", "x.py"]}, "INTERPRETER_MISSING", "/nowhere/python"),
        ({"argv": ["no-such-program"]}, "INTERPRETER_MISSING", "no-such-program"),
        ({"argv": ["/etc/passwd"]}, "NOT_EXECUTABLE", "/etc/passwd"),
        ({"cwd": "/nowhere"}, "CWD_MISSING", "/nowhere"),
        (
            {"log": {"path": "/proc/version/ema.log", "max_bytes": 1 << 20, "keep": 5}},
            "LOG_UNWRITABLE",
            "/proc/version",
        ),
    ],
)
def test_what_cannot_start_says_why(bench: Bench, change: dict[str, Any], code: str, names: str) -> None:
    bench.launch()
    refusal = refused(bench, {**bench.spec(WAITING), **change})
    assert refusal["code"] == code
    assert refusal["message"].startswith("cannot start ema: ")
    assert names in refusal["message"]
    # nothing is left of it, and the next start works
    line = bench.start("print('well')")
    assert line.exit()["exit_code"] == 0


def test_a_failed_exec_is_on_record_as_never_begun(bench: Bench) -> None:
    bench.launch()
    spec = {**bench.spec(WAITING), "argv": ["/nowhere/python"]}
    refusal = refused(bench, spec)
    record = bench.exit()
    assert record["run_id"] == spec["run_id"]
    assert record["began"] is False
    assert record["error"] == refusal["message"] == record["reason"]


def test_a_program_whose_interpreter_is_missing_is_named(bench: Bench, tmp_path: Path) -> None:
    bench.launch()
    script = tmp_path / "script"
    script.write_text("#!/nowhere/interpreter\n")
    script.chmod(0o755)
    refusal = refused(bench, {**bench.spec(WAITING), "argv": [str(script)]})
    assert refusal["code"] == "INTERPRETER_MISSING"
    assert "needs an interpreter or loader that does not exist" in refusal["message"]


def test_a_second_start_is_refused_while_the_first_runs(bench: Bench) -> None:
    bench.launch()
    first = bench.start(WAITING)
    assert refused(bench, bench.spec(WAITING))["code"] == "LOCKED"
    assert len(bench.members(bench.status()["run_id"])) == 1
    first.ask("kill", reason="kill", by="ann")
    first.exit()


def test_twenty_starts_at_once_start_one(bench: Bench) -> None:
    bench.launch()
    started = [bench.spawn(bench.spec("open('copies', 'a').write('.'); " + WAITING))[0] for _ in range(20)]

    def settled(line: Line) -> bool:
        line.pump(0.02)
        return any(m.get("ev") == "refused" or m.get("status", {}).get("phase") == "running" for m in line.heard)

    for line in started:
        wait_for(lambda line=line: settled(line), what="an answer")
    assert sum(any(m.get("ev") == "status" for m in line.heard) for line in started) == 1
    wait_for(lambda: "up" in bench.log(), what="the one")
    assert (bench.runtime.workspace / "copies").read_text() == "."


def test_a_start_right_after_the_exit_event_works(bench: Bench) -> None:
    bench.launch()
    for n in range(10):
        line = bench.start(f"print({n})")
        assert line.exit()["exit_code"] == 0
    assert bench.log() == "".join(f"{n}\n" for n in range(10))


def test_panic_refuses_starts_until_it_is_lifted(bench: Bench) -> None:
    bench.launch()
    records.write_json(bench.runtime.panic, {"by": "ann", "at": 0, "why": ""})
    assert refused(bench, bench.spec(WAITING))["code"] == "PANIC"
    line = bench.start("print('flat')", despite_panic=True)
    line.exit()
    bench.runtime.panic.unlink()
    bench.start("pass").exit()


def test_a_start_is_refused_while_a_grandchild_of_the_last_run_lives(bench: Bench) -> None:
    """It was made with `subprocess`, so it holds no lock of ours; leader, runner and launcher are dead."""
    bench.launch()
    bench.start(families.HEAD + "sleeper(start_new_session=True)\nprint('up')\nsignal.pause()")
    wait_for(lambda: "up" in bench.log(), what="the family")
    status = bench.status()
    wake.remove_wanted(bench.runtime)
    kill(bench.launcher_pid())
    kill(bench.runner_pid())
    kill(status["leader"]["pid"])
    (left,) = bench.members(status["run_id"])
    assert not locks.is_held(bench.runtime.run_lock("ema"))
    # no launcher may adopt it first: ask what a runner asks before it forks
    with pytest.raises(ProcessError) as refusal:
        previous.refuse_if_alive(bench.runtime, "ema", locked=False)
    assert refusal.value.code == "STILL_ALIVE"
    assert refusal.value.pids == (left,)
    assert str(left) in refusal.value.message


def test_a_lock_held_by_a_stranger_names_it(bench: Bench) -> None:
    bench.launch()
    bench.start("pass").exit()
    fd = os.open(bench.runtime.run_lock("ema"), os.O_RDWR)
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl; fcntl.flock({fd}, 2); print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[fd],
    )
    os.close(fd)
    assert holder.stdout is not None
    holder.stdout.readline()
    refusal = refused(bench, bench.spec(WAITING))
    assert (refusal["code"], refusal["pids"]) == ("STILL_ALIVE", [holder.pid])
    holder.communicate(b"\n")
    bench.start("pass").exit()


# -- forged and copied records -----------------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Any:
    """A process of nobody's concern that leads a session, as a recycled leader would."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def forge(bench: Bench, pid: int, start_ticks: int, **more: Any) -> None:
    """A status file that claims this process as the leader of a run."""
    bench.runtime.run_dir("ema").mkdir(parents=True, exist_ok=True)
    identity = {"host": this_host(), "boot_id": boot_id(), "pid_ns": pid_namespace(), "pid": pid}
    leader = {**identity, "start_ticks": start_ticks}
    spec = bench.spec(WAITING)
    spec.pop("env")
    status = {
        "v": 1,
        "id": "ema",
        "run_id": spec["run_id"],
        "phase": "running",
        "runner": leader,
        "leader": leader,
        "leader_exit": None,
        "members": [pid],
        "session": pid,
        "pipe_inode": 1,
        "spare_fd": 199,
        "started": 0.0,
        "stop_at": None,
        "stop_at_reason": "window",
        "stop": None,
        "dropped_bytes": 0,
        "log_path": spec["log"]["path"],
        "spec": spec,
        **more,
    }
    records.write_json(bench.runtime.status("ema"), status)


def test_a_stranger_with_a_recycled_number_is_never_signalled(bench: Bench, stranger: Any) -> None:
    real = Identity.of(stranger.pid)
    claiming.claim(bench.runtime)
    forge(bench, stranger.pid, real.start_ticks - 5, stop_at=1.0)
    assert ending.live_runs(bench.runtime) == []
    record = ending.end_run(bench.runtime, "ema", grace_s=0, by="ann", reason="panic", kill=True)
    assert record is not None
    assert record["exit_code"] is None
    assert pid_alive(stranger.pid)
    # nor by a replacement runner, whose deadline has passed
    forge(bench, stranger.pid, real.start_ticks - 5, stop_at=1.0)
    bench.launch()
    assert bench.exit()["route"] == "unknown"
    assert pid_alive(stranger.pid)
    assert not send_signal(real._replace(start_ticks=real.start_ticks - 5), signal.SIGKILL)
    # and its number blocks no start
    bench.start("pass").exit()


def test_a_record_of_an_earlier_boot_is_ended_and_signals_nobody(bench: Bench, stranger: Any) -> None:
    claiming.claim(bench.runtime)
    identity = {**Identity.of(stranger.pid).to_json(), "boot_id": "before"}
    forge(bench, stranger.pid, identity["start_ticks"], leader=identity, runner=identity)
    bench.launch()
    record = bench.exit()
    assert record["reason"] == "the machine restarted while it ran"
    assert (record["exit_code"], record["signal"], record["stopped_by_us"]) == (None, None, False)
    assert pid_alive(stranger.pid)


def test_a_copied_workspace_adopts_nothing_and_signals_nobody(bench: Bench, tmp_path: Path) -> None:
    bench.launch()
    bench.start(WAITING)
    status = bench.status()
    shutil.copytree(bench.runtime.workspace, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    copy = Bench(Runtime(tmp_path / "copy"), bench.mark)
    assert ending.live_runs(copy.runtime) == []
    with pytest.raises(ProcessError, match="is a copy"):
        ending.end_run(copy.runtime, "ema", grace_s=0, by="ann", reason="panic", kill=True)
    assert ending.end_all(copy.runtime, by="ann", reason="panic") == {}
    try:
        copy.launch()
        note = records.read_json(copy.runtime.paused)
        assert note is not None
        assert note["kind"] == "copied"
        assert copy.status()["copied"] is True
        assert copy.status()["runner"] == status["runner"]
        # the original's process bears a known mark: it still blocks a start here, and is named
        refusal = refused(copy, copy.spec(WAITING))
        assert refusal["code"] == "STILL_ALIVE"
        assert refusal["pids"] == [status["leader"]["pid"]]
    finally:
        wake.remove_wanted(copy.runtime)
        copy.close()
    assert pid_alive(status["leader"]["pid"])
    assert pid_alive(status["runner"]["pid"])
    assert bench.runner().phase("running")["run_id"] == status["run_id"]


def test_another_hosts_workspace_is_refused_until_it_is_taken_over(bench: Bench) -> None:
    elsewhere = Identity("elsewhere", "another-boot", 1, 1, 1)
    bench.runtime.launcher_lock.write_text(
        '{"host": "elsewhere", "boot_id": "b", "pid_ns": 1, "pid": 1, "start_ticks": 1}'
    )
    claiming.claim(bench.runtime)
    forge(bench, 1, 1, leader=elsewhere.to_json(), runner=elsewhere.to_json())
    assert wake.foreign_owner(bench.runtime) == "elsewhere"
    with pytest.raises(ProcessError, match="belongs to the host elsewhere: it gave a sign of life"):
        bench.launch()
    with pytest.raises(ProcessError, match="sign of life"):
        wake.take_over(bench.runtime, "elsewhere")
    os.utime(bench.runtime.launcher_lock, (0, 0))
    with pytest.raises(ProcessError, match="takeover elsewhere"):
        bench.launch()
    with pytest.raises(ProcessError, match="not to elsewhat"):
        wake.take_over(bench.runtime, "elsewhat")
    wake.take_over(bench.runtime, "elsewhere")
    bench.launch()
    bench.start("pass").exit()


def test_a_run_of_another_host_blocks_a_start(bench: Bench) -> None:
    bench.launch()
    elsewhere = Identity("elsewhere", "another-boot", 1, 1, 1)
    forge(bench, 1, 1, leader=elsewhere.to_json(), runner=elsewhere.to_json())
    refusal = refused(bench, bench.spec(WAITING))
    assert refusal["code"] == "FOREIGN_HOST"
    assert "elsewhere" in refusal["message"]


def test_a_corrupt_status_blocks_a_start_and_is_not_overwritten(bench: Bench) -> None:
    bench.launch()
    bench.start("pass").exit()
    bench.runtime.status("ema").write_text('{"v":1,')
    refusal = refused(bench, bench.spec(WAITING))
    assert refusal["code"] == "RECORD_CORRUPT"
    assert bench.runtime.status("ema").read_text() == '{"v":1,'


def test_a_supervisor_that_dies_while_it_asks_starts_at_most_one(bench: Bench) -> None:
    """The asker's socket closes at once; the run is on record and ends like any other."""
    bench.launch()
    ours, theirs = socket.socketpair()
    launcher = bench.connect_launcher()
    launcher.channel.send({"op": "spawn", "n": 1, "spec": bench.spec(WAITING)}, (theirs.fileno(),))
    ours.close()
    theirs.close()
    launcher.close()
    bench._launcher = None
    wait_for(lambda: "up" in bench.log(), what="the strategy")
    assert len(bench.members(bench.status()["run_id"])) == 1
    line = bench.runner()
    line.ask("kill", reason="kill", by="ann")
    line.exit()
