"""Nothing of ours that dies takes a strategy, a log line or an exit code with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

from stratpanel.process import locks, records, wake
from tests.process.bench import Bench, Line, kill, marked_pids
from tests.support import pid_alive, wait_for

# counts without pause, and ends with code 7 when told
COUNTING = """
import os, signal, sys, time
def end(*_):
    os.write(1, b"told\\n")
    os._exit(7)
signal.signal(signal.SIGUSR1, end)
n = 0
while True:
    os.write(1, b"line %d\\n" % n)
    n += 1
    time.sleep(0.001)
"""


def counted(bench: Bench) -> int:
    """Lines so far; fails when one is lost, doubled or torn."""
    lines = [line for line in bench.log().splitlines() if line != "told"]
    if bench.log() and not bench.log().endswith("\n"):
        lines.pop()  # the last one is just being written
    assert lines == [f"line {n}" for n in range(len(lines))]
    return len(lines)


def start_counting(bench: Bench) -> Line:
    """Started, and its signal handler is there."""
    line = bench.start(COUNTING)
    wait_for(lambda: counted(bench), what="the first line")
    return line


def goes_on(bench: Bench) -> None:
    before = counted(bench)
    wait_for(lambda: counted(bench) > before + 5, what="more lines")


def replaced(bench: Bench, old: int) -> int:
    return int(wait_for(lambda: bench.runner_pid() != old and bench.runner_pid(), what="the replacement"))


def end_leader(bench: Bench) -> None:
    os.kill(bench.status()["leader"]["pid"], signal.SIGUSR1)


def test_that_it_runs_is_on_record_soon_and_its_leader_before_it_runs(bench: Bench) -> None:
    bench.launch()
    line = start_counting(bench)
    told = line.phase("running")
    assert bench.status()["leader"] == told["leader"]
    assert "spec" not in told, "everybody has heard it in the greeting"
    wait_for(lambda: bench.status()["phase"] == "running", what="the phase on record")
    assert bench.runner().ev("status")["status"]["spec"]["argv"]


def test_a_leader_and_its_runner_that_end_before_running_is_on_record(bench: Bench) -> None:
    """The runner hangs, its leader ends with a code, the runner is killed: that it had begun follows from the code."""
    bench.launch()
    start_counting(bench)
    runner = bench.runner_pid()
    os.kill(runner, signal.SIGSTOP)
    status = bench.status()
    records.write_json(bench.runtime.status("ema"), {**status, "phase": "forked"})  # as within the first two seconds
    leader = status["leader"]["pid"]
    end_leader(bench)
    wait_for(lambda: not pid_alive(leader), what="the leader's end")
    kill(runner)
    record = bench.exit()
    assert (record["exit_code"], record["began"], record["error"]) == (7, True, None)


def test_a_replacement_adopts_the_run_of_a_killed_runner(bench: Bench) -> None:
    launcher = bench.launch()
    start_counting(bench)
    leader = bench.status()["leader"]
    for _ in range(3):
        old = bench.runner_pid()
        kill(old)
        new = replaced(bench, old)
        assert bench.status()["leader"] == leader
        assert bench.status()["phase"] == "running"
        goes_on(bench)
    assert launcher.ev("runner_lost")["id"] == "ema"
    line = bench.runner()
    assert line.phase("running")["runner"]["pid"] == new
    end_leader(bench)
    record = line.exit()
    assert record["exit_code"] == 7
    assert record["route"] in ("launcher", "zombie", "pidfd")
    counted(bench)
    assert bench.log().endswith("told\n")


def test_a_killed_launcher_is_brought_back_by_a_runner(bench: Bench) -> None:
    bench.launch()
    line = start_counting(bench)
    old = bench.launcher_pid()
    kill(old)
    assert wait_for(lambda: bench.launcher_pid() != old, 10, "a new launcher")
    launcher = bench.connect_launcher()
    wait_for(lambda: "ema" in [run["id"] for run in bench.connect_launcher().ev("hello")["runs"]], what="reattachment")
    goes_on(bench)
    # the new launcher tends it: a replacement comes
    runner = bench.runner_pid()
    kill(runner)
    replaced(bench, runner)
    assert launcher.ev("runner_lost")["replaced_by"] == bench.runner_pid()
    assert line.heard[-1]["ev"] == "status"
    end_leader(bench)
    assert bench.exit()["exit_code"] == 7
    counted(bench)


def test_a_runner_that_started_a_launcher_is_not_its_ancestor(bench: Bench) -> None:
    """Else a stop of that one strategy would end the launcher, and with it everybody's."""
    bench.launch()
    line = start_counting(bench)
    wait_for(lambda: b"sp:spare\n" in comms(bench), what="the spare runner")
    old = bench.launcher_pid()
    os.kill(old, signal.SIGSTOP)  # it makes no other spare meanwhile
    for pid in marked_pids(bench.mark):  # else that one may start the launcher
        if Path(f"/proc/{pid}/comm").read_bytes() == b"sp:spare\n":
            kill(pid)
    kill(old)
    new = int(wait_for(lambda: bench.launcher_pid() != old and bench.launcher_pid(), 10, "a new launcher"))
    line.ask("kill", reason="kill", by="ann")
    record = line.exit()
    assert record["signal"] == "SIGKILL"
    assert record["emptied"] == "scan"  # for a moment it was no subreaper: it says so
    assert pid_alive(new)
    assert bench.launcher_pid() == new


def test_launcher_and_runner_killed_together_come_back(bench: Bench) -> None:
    bench.launch()
    start_counting(bench)
    runner, launcher = bench.runner_pid(), bench.launcher_pid()
    os.kill(launcher, signal.SIGKILL)
    os.kill(runner, signal.SIGKILL)
    wait_for(lambda: not pid_alive(launcher) and not pid_alive(runner), what="their deaths")
    wake.start_launcher(bench.runtime)  # as any client command does
    replaced(bench, runner)
    goes_on(bench)
    end_leader(bench)
    record = bench.exit()
    # its parent is init now: the zombie or the pidfd tells, where the kernel can
    assert record["exit_code"] == 7
    assert record["route"] in ("zombie", "pidfd")
    counted(bench)


def test_launcher_and_supervisor_killed_together_with_no_run_alive_come_back(bench: Bench) -> None:
    bench.launch(stand_in(bench))
    first = wait_for(lambda: supervisors(bench), what="the supervisor")[0]
    launcher = bench.launcher_pid()
    wait_for(lambda: b"sp:spare\n" in comms(bench), what="the spare runner")
    os.kill(launcher, signal.SIGKILL)
    os.kill(first, signal.SIGKILL)
    assert wait_for(lambda: bench.launcher_pid() != launcher, 10, "a new launcher")
    wait_for(lambda: supervisors(bench)[1:], what="a new supervisor")


def comms(bench: Bench) -> list[bytes]:
    """Names of all processes of this bench."""
    found = []
    for pid in marked_pids(bench.mark):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(Path(f"/proc/{pid}/comm").read_bytes())
    return found


def test_a_spare_leaves_with_a_launcher_that_is_not_wanted(bench: Bench) -> None:
    bench.launch()
    wait_for(lambda: b"sp:spare\n" in comms(bench), what="the spare runner")
    wake.remove_wanted(bench.runtime)
    kill(bench.launcher_pid())
    wait_for(lambda: b"sp:spare\n" not in comms(bench), what="its end")
    assert not wake.launcher_alive(bench.runtime)


def test_an_end_that_nobody_saw_is_unknown(bench: Bench) -> None:
    bench.launch()
    start_counting(bench)
    runner, leader = bench.runner_pid(), bench.status()["leader"]["pid"]
    wake.remove_wanted(bench.runtime)  # nobody may come back before it is over
    kill(bench.launcher_pid())
    kill(runner)
    kill(leader)
    wait_for(lambda: not os.path.exists(f"/proc/{leader}"), what="init reaping it")
    bench._launcher = None
    bench.launch()
    record = bench.exit()
    assert (record["exit_code"], record["signal"], record["route"]) == (None, None, "unknown")
    assert record["stopped_by_us"] is False
    assert record["reason"] == "ended by itself, exit code unknown"


def test_a_leader_that_dies_with_its_runner_tells_its_code_through_the_launcher(bench: Bench) -> None:
    bench.launch()
    start_counting(bench)
    runner, leader = bench.runner_pid(), bench.status()["leader"]["pid"]
    os.kill(runner, signal.SIGSTOP)  # so that it cannot reap
    os.kill(leader, signal.SIGUSR1)
    wait_for(lambda: not pid_alive(leader), what="the leader's end")
    os.kill(runner, signal.SIGKILL)
    record = bench.exit()
    assert (record["exit_code"], record["route"]) == (7, "launcher")
    counted(bench)
    assert bench.log().endswith("told\n")


def test_a_stop_survives_the_runner_that_carried_it_out(bench: Bench) -> None:
    bench.launch()
    line = bench.start("""
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("up")
        while True:
            signal.pause()
    """)
    wait_for(lambda: "up" in bench.log(), what="the strategy")
    line.ask("stop", reason="window", by="schedule", grace_s=1.5)
    kill(bench.runner_pid())
    record = bench.exit()
    assert record["signal"] == "SIGKILL"
    assert (record["stop"]["reason"], record["stop"]["by"]) == ("window", "schedule")
    assert 1.0 < record["ended"] - record["stop"]["at"] < 5.0


def test_an_unwanted_launcher_stays_away(bench: Bench) -> None:
    bench.launch()
    line = start_counting(bench)
    wake.remove_wanted(bench.runtime)
    kill(bench.launcher_pid())
    line.ask("stop", reason="stop", by="ann")
    line.exit()
    assert not wake.launcher_alive(bench.runtime)


def test_two_launchers_at_once_are_one(bench: Bench) -> None:
    bench.want()
    folders = [str(bench.runtime.workspace), str(bench.runtime.root)]
    argv = [*wake.launcher_command(bench.runtime), "--detach", *folders]
    pids = [os.posix_spawn(argv[0], argv, os.environ) for _ in range(5)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 5
    launcher = bench.launcher_pid()

    # by their names: a spare runner has the launcher's command line
    wait_for(lambda: comms(bench).count(b"sp-launcher\n") == 1, what="all others to leave")
    assert bench.launcher_pid() == launcher


SUPERVISOR = """
import os, signal, sys
from pathlib import Path
from stratpanel.process import locks
from stratpanel.process.identity import Identity
from stratpanel.process.paths import Runtime
runtime = Runtime(Path(sys.argv[1]))
lock = locks.acquire(runtime.supervisor_lock, Identity.of(os.getpid()).to_json())
if lock is None:
    sys.exit(0)
with open(sys.argv[1] + "/started", "a") as file:
    file.write(f"{os.getpid()}\\n")
if len(sys.argv) > 2 and not os.path.exists(sys.argv[1] + "/mended"):
    sys.exit(int(sys.argv[2]))
signal.pause()
"""


def supervisors(bench: Bench) -> list[int]:
    path = bench.runtime.workspace / "started"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def stand_in(bench: Bench, *more: str) -> list[str]:
    return [sys.executable, "-c", SUPERVISOR, str(bench.runtime.workspace), *more]


def test_a_killed_supervisor_is_started_again_by_the_launcher_alone(bench: Bench) -> None:
    bench.launch(stand_in(bench))
    first = wait_for(lambda: supervisors(bench), what="the supervisor")[0]
    kill(first)
    second = wait_for(lambda: supervisors(bench)[1:], what="its successor")[0]
    # a new launcher finds it alive and starts none beside it
    kill(bench.launcher_pid())
    wake.start_launcher(bench.runtime)
    assert pid_alive(second)
    kill(second)
    third = wait_for(lambda: supervisors(bench)[2:], what="the next one")[0]
    assert pid_alive(third)
    assert supervisors(bench) == [first, second, third]


def test_a_supervisor_that_refused_the_registry_waits_for_a_reason(bench: Bench) -> None:
    registry = bench.runtime.workspace / "strategies" / "strategy_configs.json"
    registry.parent.mkdir(parents=True)
    registry.write_text("{broken")
    bench.launch(stand_in(bench, "78"))
    wait_for(lambda: "refused the registry" in bench.runtime.supervisor_log.read_text(), what="the launcher's word")
    assert len(supervisors(bench)) == 1
    wake.nudge(bench.runtime)  # `up`
    wait_for(lambda: len(supervisors(bench)) == 2, what="a second attempt")
    (bench.runtime.workspace / "mended").touch()
    registry.write_text("{}")
    wait_for(lambda: wake.supervisor_alive(bench.runtime), what="a supervisor after the change")


def test_a_supervisor_that_crashes_is_restarted_with_growing_pauses(bench: Bench) -> None:
    bench.launch(stand_in(bench, "1"))
    wait_for(lambda: len(supervisors(bench)) >= 3, 20, "three attempts")
    log = bench.runtime.supervisor_log.read_text()
    assert "again in 0.2 s" in log
    assert "again in 0.4 s" in log


def test_launcher_leaves_on_down_and_its_runs_go_on(bench: Bench) -> None:
    bench.launch()
    start_counting(bench)
    wake.remove_wanted(bench.runtime)
    wake.end_launcher(bench.runtime)
    wait_for(lambda: not wake.launcher_alive(bench.runtime), what="the launcher's end")
    assert wake.foreign_owner(bench.runtime) is None
    goes_on(bench)
    # and a new one takes them over
    bench.launch()
    wait_for(lambda: bench.connect_launcher().ev("hello")["runs"], what="reattachment")
    goes_on(bench)


def test_a_deleted_runtime_folder_starts_no_second_copy(bench: Bench) -> None:
    bench.launch()
    start_counting(bench)
    run_id = bench.status()["run_id"]
    kill(bench.launcher_pid())
    shutil.rmtree(bench.runtime.root)
    bench._launcher = None
    bench.launch()
    _, answer = bench.spawn(bench.spec(COUNTING))
    assert answer["code"] == "STILL_ALIVE"
    assert set(answer["pids"]) == set(bench.members(run_id))


def test_records_of_a_killed_writer_are_cleared_away(bench: Bench) -> None:
    bench.launch()
    folder = bench.runtime.run_dir("ema")
    folder.mkdir(parents=True)
    (folder / ".status.json.1.1.tmp").write_text("{")
    line = bench.start("pass")
    line.exit()
    assert sorted(path.name for path in folder.iterdir()) == ["exit.json", "run.lock", "runner.lock", "status.json"]
    assert not locks.is_held(bench.runtime.run_lock("ema"))
    assert records.read_json(bench.runtime.exit("ema")) is not None


def test_a_launcher_that_is_still_coming_up_survives_whoever_asks_it_for_a_supervisor(bench: Bench) -> None:
    """Its lock names it before it serves; clients that come then wake it by signal."""
    bench.want()
    starting = wake.spawn_launcher(bench.runtime)
    ended = 0
    while not ended:
        wake.nudge(bench.runtime)
        ended, status = os.waitpid(starting, os.WNOHANG)
    assert os.waitstatus_to_exitcode(status) == 0, bench.runtime.supervisor_log.read_text()
    for _ in range(100):
        wake.nudge(bench.runtime)
    assert bench.connect_launcher().ev("hello")
    assert wake.launcher_alive(bench.runtime)
