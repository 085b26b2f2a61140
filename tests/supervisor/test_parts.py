"""The core's pure and small parts by table: backoff, interpreter and environment, events, series, the process table."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratpanel.model.errors import InvalidValue
from stratpanel.supervisor import procfs
from stratpanel.supervisor.backoff import RestartRules, after_end, backoff_delay, recent_restarts
from stratpanel.supervisor.environment import Interpreter, interpreter, parameter_variables, surroundings
from stratpanel.supervisor.events import EventLog
from stratpanel.supervisor.sampling import Sampler, Series, Tick
from tests.support import wait_for

# -- backoff ---------


@given(attempt=st.integers(1, 10_000), base=st.floats(0, 3600), cap=st.floats(0, 3600), seed=st.integers())
def test_a_delay_is_never_over_the_cap_nor_under_the_base(attempt: int, base: float, cap: float, seed: int) -> None:
    rules = RestartRules(backoff_s=base, backoff_max_s=max(base, cap))
    delay = backoff_delay(attempt, rules, random.Random(seed))
    assert min(base, rules.backoff_max_s) <= delay <= rules.backoff_max_s


def test_defaults_go_from_5_s_to_5_min() -> None:
    rng = random.Random(1)
    delays = [backoff_delay(n, RestartRules(), rng) for n in range(1, 9)]
    for delay, plain in zip(delays, (5, 10, 20, 40, 80, 160, 300, 300), strict=True):
        assert plain <= delay <= min(plain * 1.1, 300)


@pytest.mark.parametrize(
    ("policy", "failed", "recent", "again", "fatal"),
    [
        ("never", True, 0, False, False),
        ("never", False, 0, False, False),
        ("on-failure", True, 0, True, False),
        ("on-failure", False, 0, False, False),
        ("on-failure", True, 4, True, False),
        ("on-failure", True, 5, False, True),
        ("always", False, 0, True, False),
        ("always", False, 5, False, True),
    ],
)
def test_the_policys_verdict(policy: str, failed: bool, recent: int, again: bool, fatal: bool) -> None:
    verdict = after_end(failed, [0.0] * recent, RestartRules(policy=policy), random.Random(0))
    assert (verdict.again, verdict.fatal) == (again, fatal)


def test_restarts_count_for_ten_minutes_or_until_a_stable_run() -> None:
    rules = RestartRules()
    assert recent_restarts([0, 500, 900], 1000, 10, rules) == [500, 900]
    assert recent_restarts([0, 500, 900], 1000, 60, rules) == []
    assert recent_restarts([5000], 1000, 1, rules) == [1000], "the clock was set back"


# -- environment ---------


def test_interpreter_by_path_folder_and_default(tmp_path: Path) -> None:
    assert interpreter(None, tmp_path).path == sys.executable
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / "pyvenv.cfg").touch()
    found = interpreter("venv", tmp_path)
    assert (found.path, found.venv) == (str(venv / "bin/python"), venv)
    assert interpreter(str(venv / "bin/python"), tmp_path).venv == venv
    with pytest.raises(InvalidValue) as caught:
        interpreter("nowhere/bin/python", tmp_path)
    assert caught.value.code == "INTERPRETER_MISSING"
    (tmp_path / "plain").write_text("")
    (tmp_path / "plain").chmod(0o600)
    if os.geteuid() != 0:
        with pytest.raises(InvalidValue):
            interpreter("plain", tmp_path)


def test_nothing_of_our_environment_leaks_and_later_sources_win(tmp_path: Path) -> None:
    env = surroundings(
        own={
            "PATH": "/bin",
            "LC_ALL": "C.UTF-8",
            "AWS_SECRET": "x",
            "PYTHONPATH": "/ours",
            "JPY_PARENT_PID": "1",
            "OMP_NUM_THREADS": "3",
            "VIRTUAL_ENV": "/our/venv",
        },
        python=Interpreter("/usr/bin/python3", None),
        caps={"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
        workspace_env={"A": "workspace", "B": "workspace"},
        strategy_env={"B": "strategy", "C": "strategy", "STRATEGY_ID": "forged"},
        secrets={"C": "secret"},
        reserved={"STRATEGY_ID": "ema"},
        working_copy=tmp_path,
    )
    assert env == {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "2",
        "A": "workspace",
        "B": "strategy",
        "C": "secret",
        "STRATEGY_ID": "ema",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(tmp_path),
    }


def test_plain_parameters_become_variables() -> None:
    params = {"fast": 9, "live": True, "name": "x", "nested": {"a": 1}, "mode": "forged", "odd name": 1}
    assert parameter_variables(params) == {"SP_FAST": "9", "SP_LIVE": "true", "SP_NAME": "x"}


# -- events ---------


async def test_a_slow_subscriber_is_told_to_start_afresh_and_memory_stays_bounded() -> None:
    log = EventLog(first=0)
    slow = log.subscribe(limit=5)
    for n in range(100):
        log.append("tick", message=str(n))
    assert len(slow._pending) <= 6
    received = [await slow.get() for _ in range(len(slow._pending))]
    assert received[0] is None
    assert received[-1] is not None
    assert received[-1]["message"] == "99"
    assert log.since(98) is not None
    assert log.since(5000) is None, "a number nobody gave out"
    for _ in range(2000):
        log.append("tick")
    assert log.since(98) is None, "no longer kept"


async def test_closing_a_subscription_ends_its_reader() -> None:
    log = EventLog()
    subscription = log.subscribe()
    reader = asyncio.create_task(anext(aiter(subscription), None))
    await asyncio.sleep(0)
    subscription.close()
    assert await reader is None
    assert not log._subscriptions


def test_a_failing_sink_harms_nobody() -> None:
    log = EventLog()
    heard: list[str] = []

    def broken(event: object) -> None:
        raise RuntimeError("full")

    log.forward_to(broken)
    log.forward_to(lambda event: heard.append(event["type"]))
    log.append("crash")
    assert heard == ["crash"]


# -- figures ---------


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 800, width=32)), min_size=1, max_size=80), st.integers(1, 20))
def test_a_series_reads_what_was_put_in_and_gaps_are_none(steps: list[tuple[int, float]], step: int) -> None:
    series, raw, now = Series(), {}, 1_000_000
    for ahead, value in steps:
        now += ahead
        series.add(now, value, value * 2, None, None)
        raw[now] = value
    answer = series.read(1_000_000, now, step)
    assert len({len(column) for column in answer.values()}) == 1
    for start, cpu in zip(answer["t"], answer["cpu_percent"], strict=True):
        known = [raw[s] for s in range(start, start + step) if s in raw]
        if known:
            assert cpu == pytest.approx(sum(known) / len(known), abs=0.01)
        else:
            assert cpu is None


def test_a_series_keeps_one_hour() -> None:
    series = Series()
    for second in range(10_000):
        series.add(second, 1.0, 2.0, None, None)
    assert len(series.read(0, 9_999, 1)["t"]) == 3600


TREE = (
    "import os, subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
    "print('up', flush=True)\n"
    "time.sleep(60)\n"
)


def test_a_tree_is_found_by_descent_and_session_and_remembered_when_orphaned() -> None:
    leader = subprocess.Popen([sys.executable, "-c", TREE], start_new_session=True, stdout=subprocess.PIPE)
    try:
        assert leader.stdout is not None
        leader.stdout.readline()
        procs = procfs.one_pass()
        target = procfs.Target("t", "r", None, leader.pid, procs[leader.pid].start_ticks)
        found = procfs.members(target, procs, procfs.children_of(procs), procfs.sessions_of(procs), {})
        assert len(found) == 3
        assert leader.pid in found
        seen = {pid: procs[pid].start_ticks for pid in found}
        leader.kill()
        leader.wait()
        procs = procfs.one_pass()
        left = procfs.members(target, procs, procfs.children_of(procs), procfs.sessions_of(procs), seen)
        assert left == found - {leader.pid}, "orphans stay members"
        forged = {pid: start + 1 for pid, start in seen.items()}
        nobody = procfs.members(target, procs, procfs.children_of(procs), procfs.sessions_of(procs), forged)
        assert not nobody & left, "another start time is another process"
        assert procfs.pss_pages(left, procs) > 0
        assert procfs.open_files(left) is not None
    finally:
        for pid in found:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        leader.wait()
        if leader.stdout is not None:
            leader.stdout.close()


def test_names_with_parentheses_and_blanks_are_read(tmp_path: Path) -> None:
    stat = "77 (a) b ( c)) S 5 77 66 0 -1 4194304 1 2 3 4 100 50 0 0 20 0 4 0 12345 1000 250 18446744073709551615 1 1\n"
    (tmp_path / "77").mkdir()
    (tmp_path / "77/stat").write_text(stat)
    assert procfs.read_proc(77, str(tmp_path)) == procfs.Proc(77, 5, 66, 150, 4, 12345, 250)


def test_the_sampler_measures_a_busy_child_and_survives_a_bad_pass() -> None:
    ticks: list[Tick] = []
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    sampler = Sampler(ticks.append)
    try:
        sampler.targets = (procfs.Target("busy", "r", None, busy.pid, None, limit_mb=1.0),)
        sampler.start()
        wait_for(lambda: len(ticks) >= 2 and ticks[-1].cpu.get("busy", 0) > 10, 10, "its CPU")
        assert ticks[-1].mem["busy"] > 1
        assert ticks[0].threads["busy"] == 1
        assert ticks[-1].host["memory_total_mb"] > 100
        sampler._root = "/nowhere"
        before = len(ticks)
        time_mark = time.monotonic()
        wait_for(lambda: time.monotonic() - time_mark > 1.2, 5, "a failing pass")
        sampler._root = "/proc"
        wait_for(lambda: len(ticks) > before, 5, "the next tick")
    finally:
        sampler.stop()
        busy.kill()
        busy.wait()
