"""The registry on a hostile disk: full, read-only, killed half-way, written by two at once. Nothing is ever lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stratpanel.model.strategy import Strategy
from stratpanel.supervisor.registry import file as registry_file
from stratpanel.supervisor.registry.registry import Registry, RegistryError
from tests.model.registries import SEED, edit, loaded, registry_at, written
from tests.support import wait_for

ID = "strategy_id"


def failing(number: int) -> Callable[..., Any]:
    """A system call that fails."""

    def call(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize(
    ("call", "number", "said"),
    [
        ("os.fsync", errno.ENOSPC, "no space left on device; free some space"),
        ("os.open", errno.EROFS, "mounted read-only"),
        ("os.open", errno.EACCES, "permission denied; give this user the right"),
        ("os.rename", errno.EIO, "input/output error"),
    ],
)
def test_a_disk_that_refuses_loses_nothing_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, said: str
) -> None:
    registry, strategies = loaded(tmp_path)
    before = registry.path.read_bytes()
    strategies[ID].grace_s = 9
    with monkeypatch.context() as patched:
        if call == "os.open":
            real = os.open

            def refuse_new(path: Any, flags: int, *rest: Any) -> int:
                if flags & os.O_CREAT:
                    raise OSError(number, os.strerror(number))
                return real(path, flags, *rest)

            patched.setattr(registry_file.os, "open", refuse_new)
        else:
            patched.setattr(registry_file.os, call.removeprefix("os."), failing(number))
            patched.setattr(registry_file, "_exchange", lambda one, other: False)
        found = registry.save(strategies, only={ID})
        assert found.outcome == "failed"
        assert said in (found.problem or "")
        assert registry.problem == found.problem
        assert registry.changed_on_disk(), "so that whoever polls tries again"
        with pytest.raises(RegistryError, match=r"cannot write strategies/strategy_configs\.json"):
            found.require()
    assert registry.path.read_bytes() == before
    assert os.listdir(registry.path.parent) == [registry.path.name]
    assert strategies[ID].grace_s == 9
    assert registry.save(strategies, only=()).outcome == "written", "the next save makes up for it"
    assert registry.problem is None
    assert not registry.changed_on_disk()
    assert written(registry)[ID]["grace_s"] == 9


def test_a_file_size_limit_is_a_full_disk_made_real(tmp_path: Path) -> None:
    registry, _ = loaded(tmp_path)
    before = registry.path.read_bytes()
    code = f"""
import resource
from stratpanel.supervisor.registry.registry import Registry
registry = Registry({str(registry.path)!r})
strategies = registry.load()
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
strategies[{ID!r}].notes = "x" * 1000
found = registry.save(strategies)
print(found.outcome, found.problem)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.startswith("failed cannot write strategies/strategy_configs.json: file too large")
    assert registry.path.read_bytes() == before
    assert os.listdir(registry.path.parent) == [registry.path.name]


def test_a_folder_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "nowhere" / "strategy_configs.json")
    assert registry.load() == {}
    found = registry.save({"a": Strategy.from_config("a", {"file_path": "a.py"})})
    assert found.outcome == "failed"
    assert "no such file or directory" in (found.problem or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the injected errors above cover it")
def test_a_read_only_folder_is_a_clear_error(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    strategies[ID].grace_s = 9
    registry.path.parent.chmod(0o500)
    try:
        found = registry.save(strategies)
    finally:
        registry.path.parent.chmod(0o700)
    assert "give this user the right" in (found.problem or "")
    assert registry.save(strategies).outcome == "written"


def test_mode_and_link_stay_as_they_were(tmp_path: Path) -> None:
    registry = registry_at(tmp_path, SEED)
    elsewhere = tmp_path / "dotfiles.json"
    os.rename(registry.path, elsewhere)
    elsewhere.chmod(0o640)
    registry.path.symlink_to(elsewhere)
    strategies = registry.load()
    strategies[ID].grace_s = 9
    assert registry.save(strategies).outcome == "written"
    assert registry.path.is_symlink()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o640
    assert json.loads(elsewhere.read_text())[ID]["grace_s"] == 9
    assert not registry.changed_on_disk()


@pytest.mark.parametrize("swap", [True, False], ids=["exchange", "without exchange"])
def test_a_person_who_saves_between_our_look_and_our_write_is_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: bool
) -> None:
    registry, strategies = loaded(tmp_path)
    strategies[ID].grace_s = 9
    edits = iter([10, 20, 30])
    real = registry_file._exchange

    def edit_first(one: Path, other: Path) -> bool:
        value = next(edits, None)
        if value is not None:
            edit(registry, lambda document: document[ID].update(priority=value // 10, notes=str(value)))
        return real(one, other) if swap else False

    monkeypatch.setattr(registry_file, "_exchange", edit_first)
    found = registry.save(strategies)
    assert found.outcome == "written"
    assert (strategies[ID].grace_s, strategies[ID].priority, strategies[ID].notes) == (9, 3, "30")
    entry = written(registry)[ID]
    assert (entry["grace_s"], entry["priority"], entry["notes"]) == (9, 3, "30")


def test_a_person_who_breaks_the_file_between_our_look_and_our_write_keeps_their_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, strategies = loaded(tmp_path)
    strategies[ID].grace_s = 9
    real = registry_file._exchange
    broken = b'{"half": '

    def break_first(one: Path, other: Path) -> bool:
        if registry.path.read_bytes() != broken and not list(registry.path.parent.glob("*.edited")):
            (registry.path.parent / "done.edited").touch()
            registry.path.write_bytes(broken)
        return real(one, other)

    monkeypatch.setattr(registry_file, "_exchange", break_first)
    assert registry.save(strategies).outcome == "suspended"
    assert registry.path.read_bytes() == broken


def test_a_file_made_while_there_was_none_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_at(tmp_path)
    assert registry.load() == {}
    real = os.link

    def make_first(*arguments: Any) -> None:
        if not registry.path.exists():
            registry.path.write_text('{"theirs": {"file_path": "theirs.py"}}')
        real(*arguments)

    monkeypatch.setattr(registry_file.os, "link", make_first)
    found = registry.save({"ours": Strategy.from_config("ours", {"file_path": "ours.py"})})
    assert list(found.added) == ["theirs"]
    assert set(written(registry)) == {"ours", "theirs"}


# for the microseconds between our swap and the swap back a reader may meet our text without the latest edit
PERSON = """
import json, os, select, sys, time
path, rounds = sys.argv[1], int(sys.argv[2])
last, lost, n = -1, 0, 0
while n < rounds or not select.select([sys.stdin], [], [], 0)[0]:
    patience = time.monotonic() + 2
    while True:
        document = json.load(open(path))
        entry = document["strategy_id"]
        if last < 0 or (entry.get("priority"), entry.get("mine")) == (last % 10, last):
            break
        if time.monotonic() > patience:
            lost += 1
            break
    last = n
    entry["mine"], entry["priority"] = n, n % 10
    with open(path + ".person", "w") as file:
        json.dump(document, file)
    os.replace(path + ".person", path)
    n += 1
print(lost, last)
"""


def test_two_writers_at_full_speed_lose_no_edit_of_the_person(tmp_path: Path) -> None:
    """Both go on until the person has edited 400 times and we have saved 20 times, whoever the cores favour."""
    registry, strategies = loaded(tmp_path)
    person = subprocess.Popen(
        [sys.executable, "-c", PERSON, str(registry.path), "400"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert person.stdin is not None
    saves = 0
    deadline = time.monotonic() + 120
    try:
        while person.poll() is None:
            assert time.monotonic() < deadline, f"{saves} saves, and the person is not done"
            saves += 1
            if saves == 20:
                person.stdin.close()
            strategies[ID].notes = f"ours {saves}"
            found = registry.save(strategies)
            assert found.outcome in ("written", "unchanged", "failed"), found.problem
            assert not found.removed
    finally:
        person.kill()
        assert person.stdout is not None
        said = person.stdout.read()
        person.stdout.close()
        person.wait(timeout=10)
    lost, last = map(int, said.split())
    assert lost == 0
    assert registry.save(strategies).kept
    assert saves >= 20
    assert last >= 399
    assert written(registry)[ID]["mine"] == last
    assert strategies[ID].priority == last % 10
    assert os.listdir(registry.path.parent) == [registry.path.name]


SAVER = """
import sys
from stratpanel.supervisor.registry.registry import Registry
registry = Registry(sys.argv[1])
strategies = registry.load()
print("ready", flush=True)
n = int(sys.argv[2])
while True:
    n += 1
    strategies["strategy_id"].notes = str(n) * 500
    assert registry.save(strategies).outcome == "written"
    print(n, flush=True)
"""


def test_killed_at_any_moment_the_file_is_whole(tmp_path: Path) -> None:
    registry, _ = loaded(tmp_path)
    for kill_after in (1, 2, 3, 5, 8):
        command = [sys.executable, "-c", SAVER, str(registry.path), str(kill_after * 1000)]
        saver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert saver.stdout is not None
        done = [saver.stdout.readline() for _ in range(kill_after + 1)]
        saver.send_signal(signal.SIGKILL)
        with saver.stdout:
            rest = saver.stdout.read()  # not communicate(): it passes by what readline() has buffered
        wait_for(lambda saver=saver: saver.poll() is not None, what="the end of the saver")
        last = max(int(line) for line in [*done[1:], *rest.splitlines()])
        notes = Registry(registry.path).load()[ID].notes
        assert notes in (str(last) * 500, str(last + 1) * 500), "what was acknowledged is on disk"
        assert registry.path.stat().st_size < 10_000


def test_an_edit_while_the_folder_is_synced_after_our_write_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, strategies = loaded(tmp_path)
    strategies[ID].grace_s = 9
    sync = registry_file._sync_folder

    def sync_and_be_edited(folder: Path) -> None:
        sync(folder)
        edit(registry, lambda document: document[ID].update(notes="written by a person"))

    monkeypatch.setattr(registry_file, "_sync_folder", sync_and_be_edited)
    assert registry.save(strategies, only={ID}).outcome == "written"
    monkeypatch.undo()
    assert registry.changed_on_disk()
    registry.save(strategies, only=())
    assert strategies[ID].notes == "written by a person"
    assert written(registry)[ID]["grace_s"] == 9
