"""Full disks, deep folders, no more processes, clients that do not read: the run goes on, and the word is clear."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stratpanel.process import ending, records
from stratpanel.process.paths import Runtime
from tests.process.bench import Bench, kill
from tests.support import pid_alive, wait_for

WAITING = "import signal; print('up', flush=True); signal.pause()"


def test_sockets_work_at_any_depth(bench: Bench, tmp_path: Path) -> None:
    deep = Bench(Runtime(tmp_path.joinpath(*["a folder of some length"] * 12)), bench.mark)
    assert len(str(deep.runtime.launcher_socket)) > 250
    deep.launch()
    line = deep.start(WAITING)
    assert deep.runner().phase("running")
    record = ending.end_run(deep.runtime, "ema", by="ann", reason="stop")
    assert record is not None
    line.exit()
    deep.runtime.wanted.unlink()
    deep.close()


def test_ids_with_blanks_and_dots_are_folders_like_any_other(bench: Bench) -> None:
    bench.launch()
    line = bench.start("print('well')", id="Ema 5.2 fast-slow_x")
    assert line.exit()["exit_code"] == 0
    assert bench.log("Ema 5.2 fast-slow_x") == "well\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, b"size=200k") != 0:
        pytest.skip("mounting needs root")
    yield folder
    libc.umount2(os.fsencode(folder), 2)


def fill(folder: Path) -> Path:
    """Take all the room."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def test_a_full_disk_delays_records_and_ends_no_run(bench: Bench, small_disk: Path) -> None:
    full = Bench(Runtime(bench.runtime.workspace, small_disk / "rt"), bench.mark)
    full.launch()
    line = full.start(WAITING)
    filler = fill(small_disk)
    at = time.time() + 600
    answer = line.ask("deadline", at=at)
    assert answer["ok"] is False
    assert "cannot be stored" in answer["message"]
    assert line.heard[-2]["status"]["stop_at"] == at  # obeyed all the same
    assert pid_alive(full.status()["leader"]["pid"])
    refusal = full.spawn(full.spec(WAITING, id="other"))[0].ev("refused")
    assert refusal["code"] == "RUNTIME_UNWRITABLE"
    assert "no space left" in refusal["message"]
    line.ask("stop", reason="stop", by="ann")
    record = line.exit()
    assert record["signal"] == "SIGTERM"
    assert records.read_json(full.runtime.exit("ema")) is None
    filler.unlink()
    assert full.exit() == record
    full.runtime.wanted.unlink()
    full.close()
    kill(full.launcher_pid())
    wait_for(lambda: not pid_alive(full.runner_pid()), what="the runner's end")


NO_FORK = """
import errno, os, sys
from stratpanel.process import launcher, runner
where = sys.argv.pop(1)
real, forks, start = os.fork, [], runner._start
def fork():
    forks.append(1)
    if (where == "launcher") == (not served) and len(forks) > 1:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
    return real()
served = []
def serving(*args):
    served.append(1)
    return start(*args)
runner._start = serving
os.fork = fork
sys.exit(launcher.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("where", ["launcher", "runner"])
def test_a_machine_out_of_processes_refuses_clearly(bench: Bench, where: str) -> None:
    bench.want()
    arguments = [where, "--detach", str(bench.runtime.workspace), str(bench.runtime.root)]
    pid = os.posix_spawn(sys.executable, [sys.executable, "-P", "-c", NO_FORK, *arguments], os.environ)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    line, answer = bench.spawn(bench.spec(WAITING))
    refusal = line.ev("refused") if answer["ok"] else answer
    assert refusal["code"] == "CANNOT_FORK"
    assert refusal["message"].startswith("cannot start ema: the limit of processes is reached")
    assert not bench.runtime.status("ema").exists()


def test_a_client_that_never_reads_loses_only_itself(bench: Bench) -> None:
    bench.launch()
    line = bench.start(WAITING)
    deaf = bench.runner()
    for n in range(300):
        assert line.ask("deadline", at=time.time() + 1000 + n, reason="x" * 100_000)["ok"]
        line.heard.clear()
    assert line.ask("ping")["ok"]
    # it was hung up on with what it had not read; its buffer is bounded
    while not deaf.closed:
        deaf.pump(1.0)
        deaf.heard.clear()


def test_a_client_that_talks_nonsense_is_hung_up_on(bench: Bench) -> None:
    bench.launch()
    line = bench.start(WAITING)
    rude = bench.runner()
    rude.ev("status")
    rude.channel._socket.send(b"not json at all\n")  # the wire itself is the subject here
    wait_for(lambda: rude.pump(0.02) or rude.closed, what="the end of that line")
    assert line.ask("ping")["ok"]
    launcher = bench.connect_launcher()
    launcher.channel._socket.send(b"[1]\n")
    wait_for(lambda: launcher.pump(0.02) or launcher.closed, what="the end of that line")
    assert bench.connect_launcher().ev("hello")["runs"]


def test_descriptors_that_nobody_asked_for_are_closed(bench: Bench) -> None:
    bench.launch()
    line = bench.start(WAITING)
    runner = bench.runner_pid()
    before = len(os.listdir(f"/proc/{runner}/fd"))
    for _ in range(20):
        assert line.ask("ping", fds=(0,))["ok"]
    # a record or a log that is just being written may be open for a moment
    wait_for(lambda: len(os.listdir(f"/proc/{runner}/fd")) <= before, what="all of them closed")


def test_runs_leave_no_descriptor_in_the_launcher(bench: Bench) -> None:
    bench.launch()
    bench.start("pass", id="first").exit()
    launcher = bench.launcher_pid()

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{launcher}/fd"))

    before = wait_for(lambda: not bench.connect_launcher().ev("hello")["runs"] and descriptors(), what="quiet")
    for n in range(20):
        bench.start("pass", id=f"s{n}").exit()
    refused = {**bench.spec("pass"), "cwd": "/nowhere"}
    bench.spawn(refused)[0].ev("refused")
    # this counts the hello lines of our own that are still open
    lines = len([line for line in bench.lines if not line.closed])
    wait_for(lambda: descriptors() <= before + lines, what="all descriptors closed")


def test_the_log_of_a_run_can_be_cleared_by_command(bench: Bench) -> None:
    bench.launch()
    line = bench.start(WAITING)
    wait_for(lambda: bench.log() == "up\n", what="the line")
    assert line.ask("clear_log")["ok"]
    assert bench.log() == ""
