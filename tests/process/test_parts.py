"""The small parts, each alone: records, locks, identities, channels, the loop, foreign records."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stratpanel.process import claiming, locks, platform, records, wake
from stratpanel.process.channel import LARGEST_BACKLOG, Channel, ChannelClosed
from stratpanel.process.errors import RecordError
from stratpanel.process.identity import Identity, boot_id, send_signal
from stratpanel.process.loop import Loop
from stratpanel.process.paths import Runtime
from stratpanel.process.tree import describe, mark_of
from tests.support import wait_for


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "import signal; print(1, flush=True); signal.pause()"],
        stdout=subprocess.PIPE,
        env={"STRATPANEL_RUN_ID": "ema~x"},
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process  # type: ignore[misc]
    process.kill()
    process.wait()
    process.stdout.close()


# -- records -----------------------------------------------------------------------------------------------------------


def test_a_record_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert records.read_json(path) is None
    records.write_json(path, {"name": "é \udcff"}, fsync=True)
    assert records.read_json(path) == {"name": "é \udcff"}
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\x00\x00"])
def test_a_corrupt_record_is_an_error_never_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"x\.json is corrupt"):
        records.read_json(path)


def test_a_failed_write_leaves_the_old_record_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    records.write_json(path, {"n": 1})
    with pytest.raises(TypeError):
        records.write_json(path, {"n": object()})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        records.write_json(tmp_path / "folder", {"n": 1})
    assert records.read_json(path) == {"n": 1}
    assert sorted(os.listdir(tmp_path)) == ["folder", "x.json"]


# -- locks -------------------------------------------------------------------------------------------------------------


def test_a_lock_excludes_others_and_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = locks.acquire(path, {"pid": 7})
    assert lock is not None
    assert locks.is_held(path)
    assert locks.holder(path) == {"pid": 7}
    assert locks.acquire(path) is None
    lock.release()
    assert not locks.is_held(path)
    assert locks.acquire(path) is not None


def test_a_lock_names_its_new_holder_over_a_longer_name_and_is_never_empty(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    records_of = [{"host": "a" * 40, "pid": 4_194_303}, {"host": "b", "pid": 7}, {"host": "c" * 60, "pid": 1}]
    longest = 0
    for record in records_of:
        lock = locks.acquire(path, record)
        assert lock is not None
        assert locks.holder(path) == record
        longest = max(longest, len(json.dumps(record)) + 1)
        assert path.stat().st_size == longest, "blanks cover what was longer"
        lock.release()


def test_a_lock_whose_file_was_replaced_protects_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = locks.acquire(path)
    assert lock is not None
    path.unlink()
    assert not lock.still_named()
    other = locks.acquire(path)
    assert other is not None
    assert other.still_named()


# -- identities --------------------------------------------------------------------------------------------------------


def test_an_identity_is_its_process_and_no_other(sleeper: subprocess.Popen[bytes]) -> None:
    identity = Identity.of(sleeper.pid)
    assert Identity.from_json(identity.to_json()) == identity
    assert identity.alive()
    assert not identity._replace(start_ticks=identity.start_ticks + 1).alive()
    assert not identity._replace(boot_id="x").alive()
    assert identity._replace(boot_id="x").where() == "rebooted"
    assert identity._replace(boot_id="x", host="y").where() == "elsewhere"
    assert identity._replace(pid_ns=1).where() == "elsewhere"
    assert not send_signal(identity._replace(pid_ns=1), signal.SIGKILL)
    assert mark_of(sleeper.pid) == "ema~x"
    assert send_signal(identity, signal.SIGKILL)
    # dead, but a zombie until we collect it: it is not alive, and its status can be read
    seen = wait_for(lambda: (s := platform.look_at(sleeper.pid)) and not s.alive and s, what="the zombie")
    assert not identity.alive()
    assert describe(seen.wait_status) == (None, "SIGKILL")
    sleeper.wait()
    assert Identity.of(os.getpid()).alive()
    with pytest.raises(ProcessLookupError):
        Identity.of(sleeper.pid)


def test_a_pidfd_tells_the_status_of_what_somebody_else_reaped(sleeper: subprocess.Popen[bytes]) -> None:
    fd = platform.open_process(sleeper.pid, Identity.of(sleeper.pid).start_ticks)
    assert fd is not None
    assert platform.exit_status(fd) is None
    sleeper.terminate()
    sleeper.wait()
    status = platform.exit_status(fd)
    os.close(fd)
    if status is None:
        pytest.skip("this kernel does not tell (before 6.15)")
    assert describe(status) == (None, "SIGTERM")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (0, (0, None)),
        (7 << 8, (7, None)),
        (9, (None, "SIGKILL")),
        (11 | 0x80, (None, "SIGSEGV")),
        (40, (None, "SIG40")),
    ],
)
def test_a_wait_status_is_a_code_or_a_signal(status: int, told: tuple[int | None, str | None]) -> None:
    assert describe(status) == told


# -- channels ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    channels = Channel(ours), Channel(theirs)
    yield channels  # type: ignore[misc]
    for channel in channels:
        channel.close()


def test_messages_arrive_whole_and_in_order(pair: tuple[Channel, Channel]) -> None:
    sender, receiver = pair
    big = "x" * 3_000_000
    sender.send({"n": 1})
    sender.send({"n": 2, "big": big})
    sender.send({"n": 3})
    found = []
    while len(found) < 3:
        sender.flush()
        found += receiver.receive()
    assert [message["n"] for message in found] == [1, 2, 3]
    assert found[1]["big"] == big
    assert not sender.wants_write


def test_descriptors_come_with_their_message(pair: tuple[Channel, Channel]) -> None:
    sender, receiver = pair
    pipes = [os.pipe() for _ in range(3)]
    sender.send({"n": 0})
    for n, (read_end, write_end) in enumerate(pipes):
        sender.send({"n": n}, (read_end,))
        os.close(read_end)
        os.write(write_end, str(n).encode())
    found = []
    while len(found) < 4:
        found += receiver.receive()
    assert [message.get("fds", 0) for message in found] == [0, 1, 1, 1]
    for n, (_, write_end) in enumerate(pipes):
        (fd,) = receiver.take_fds(1)
        assert os.read(fd, 10) == str(n).encode()
        assert not os.get_inheritable(fd)
        os.close(fd)
        os.close(write_end)


def test_what_was_said_before_the_end_is_heard(pair: tuple[Channel, Channel]) -> None:
    sender, receiver = pair
    sender.send({"last": True})
    sender.close()
    assert receiver.receive() == [{"last": True}]
    with pytest.raises(ChannelClosed):
        receiver.receive()


def test_a_peer_that_does_not_read_costs_a_bounded_buffer(pair: tuple[Channel, Channel]) -> None:
    sender, _ = pair
    quarter = {"x": "x" * (LARGEST_BACKLOG // 4)}
    for _ in range(3):
        sender.send(quarter)
    with pytest.raises(ChannelClosed, match="does not read"):
        sender.send({"x": quarter["x"] * 2})


# -- the loop ----------------------------------------------------------------------------------------------------------


def test_timers_run_in_order_and_not_when_cancelled() -> None:
    loop = Loop()
    seen: list[str] = []
    loop.call_later(0.02, lambda: seen.append("second"))
    loop.call_later(0.01, lambda: seen.append("first"))
    loop.call_later(0.015, lambda: seen.append("never")).cancel()
    while len(seen) < 2:
        loop.run_once(1.0)
    assert seen == ["first", "second"]


@pytest.mark.parametrize("many", [False, True])
def test_a_callback_may_close_what_is_ready_too(many: bool) -> None:
    loop = Loop(many=many)
    ends = [os.pipe() for _ in range(2)]
    heard: list[int] = []

    def ready(fd: int) -> None:
        heard.append(fd)
        for read_end, _ in ends:
            loop.unwatch(read_end)

    for read_end, write_end in ends:
        loop.watch(read_end, lambda _events, fd=read_end: ready(fd))  # type: ignore[misc]
        os.write(write_end, b"x")
    loop.run_once(1.0)
    assert len(heard) == 1
    for pair in ends:
        for fd in pair:
            os.close(fd)
    loop.close()


# -- whose workspace ---------------------------------------------------------------------------------------------------


def test_a_folder_is_ours_after_a_reboot_though_its_device_changed(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path)
    runtime.make()
    assert claiming.claim(runtime) == "new"
    assert claiming.claim(runtime) == "ours"
    here = records.read_json(runtime.here)
    assert here is not None
    records.write_json(runtime.here, {**here, "dev": here["dev"] + 1, "boot_id": "before"})
    assert not claiming.is_copied(runtime)
    records.write_json(runtime.here, {**here, "dev": here["dev"] + 1})
    assert claiming.is_copied(runtime)
    records.write_json(runtime.here, {**here, "inode": here["inode"] + 1, "boot_id": "before"})
    assert claiming.is_copied(runtime)


def test_a_free_lock_of_another_container_of_this_machine_is_free(tmp_path: Path) -> None:
    """One kernel: a lock that nobody holds proves that its holder is gone, whatever its PIDs meant."""
    runtime = Runtime(tmp_path)
    runtime.make()
    record = Identity("other-container", boot_id(), 1, 1, 1).to_json()
    lock = locks.acquire(runtime.launcher_lock, record)
    assert lock is not None
    assert wake.foreign_owner(runtime) == "other-container"
    lock.release()
    assert wake.foreign_owner(runtime) is None


def test_the_settings_file_may_move_the_runtime(tmp_path: Path) -> None:
    assert Runtime.of(tmp_path).root == tmp_path / ".stratpanel"
    (tmp_path / "stratpanel.toml").write_text('runtime_dir = "/var/tmp/x"\n[env]\nA = "1"\n')
    assert Runtime.of(tmp_path).root == Path("/var/tmp/x")
    (tmp_path / "stratpanel.toml").write_text("runtime_dir = broken")
    assert Runtime.of(tmp_path).root == tmp_path / ".stratpanel"


def test_a_strategy_starts_no_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be below its runner, and end with that strategy."""
    monkeypatch.setenv("STRATPANEL_RUN_ID", "ema~x")
    runtime = Runtime(tmp_path)
    wake.make_wanted(runtime, "test")
    wake.start_launcher(runtime)
    assert not wake.launcher_alive(runtime)
