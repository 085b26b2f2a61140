"""Kill launcher, supervisor and runners at random, over and over: the strategies must not notice.

Twenty strategies print numbered lines at 100 Hz; each notes its start in a file, so that a second copy shows.
The seed is printed; set STRATPANEL_CHAOS_SEED to repeat a run and STRATPANEL_CHAOS_KILLS for more.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.support import pid_alive, wait_for
from tests.workbench import Workbench

STRATEGIES = 20
KILLS = int(os.environ.get("STRATPANEL_CHAOS_KILLS", "110"))
BACK_WITHIN_S = 3.0

ENDLESS = """
import os, sys, time
with open(os.path.join(os.environ["STRATEGY_STATE_DIR"], "starts"), "a") as file:
    file.write(f"{os.getpid()}\\n")
code = int(sys.argv[1]) if len(sys.argv) > 1 else None
lines = int(sys.argv[2]) if len(sys.argv) > 2 else None
begun, n = time.monotonic(), 0
while lines is None or n < lines:
    print(f"<{os.getpid()}:{n}>")
    n += 1
    time.sleep(max(0.0, begun + n * 0.01 - time.monotonic()))
sys.exit(code)
"""


def kill(pid: int | None) -> int:
    """SIGKILL; 1 when there was somebody to kill."""
    if pid is None:
        return 0
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def in_step(bench: Workbench, alive: list[str]) -> bool:
    """Launcher and supervisor live, every live strategy has a living runner and is known as running."""
    if bench.launcher_pid() is None or bench.supervisor_pid() is None or not bench.api.reachable():
        return False
    states = {row["id"]: row for row in bench.api.get("/api/strategies")["strategies"]}
    for strategy_id in alive:
        leader = bench.leader_pid(strategy_id)
        if leader is None:
            continue  # ended by itself meanwhile
        row = states[strategy_id]
        if bench.runner_pid(strategy_id) is None or row["state"] != "running" or row["pid"] != leader:
            return False
    return True


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_nothing_of_ours_that_dies_takes_a_strategy_a_line_or_an_exit_code(tmp_path: Path) -> None:
    seed = int(os.environ.get("STRATPANEL_CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"chaos seed {seed}")
    dice = random.Random(seed)
    bench = Workbench.make(tmp_path / "w")
    try:
        bench.cli("up")
        ids = [f"s{n:02}" for n in range(STRATEGIES)]
        codes = {strategy_id: 10 + n for n, strategy_id in enumerate(ids[:5])}  # these end by themselves meanwhile
        for n, strategy_id in enumerate(ids):
            config = {"restart": {"policy": "never"}}
            if strategy_id in codes:
                config["args"] = [str(codes[strategy_id]), str(800 + 500 * n)]
            bench.register(strategy_id, ENDLESS, **config)
        bench.cli("start", *ids)
        leaders = {strategy_id: bench.leader_pid(strategy_id) for strategy_id in ids}

        killed, worst, rounds = 0, 0.0, 0
        while killed < KILLS:
            rounds += 1
            killed += one_round(bench, ids, dice, everybody=rounds % 7 == 0)
            begun = time.monotonic()
            wait_for(lambda: in_step(bench, ids), 20, f"everything back in step (seed {seed})", every=0.02)
            worst = max(worst, time.monotonic() - begun)
        print(f"{killed} kills in {rounds} rounds; slowest return {worst:.2f} s")

        for strategy_id in codes:
            bench.wait_state(strategy_id, "exited", timeout=60)
        endless = [strategy_id for strategy_id in ids if strategy_id not in codes]
        assert all(bench.leader_pid(strategy_id) == leaders[strategy_id] for strategy_id in endless), (
            "a strategy was lost"
        )
        bench.cli("stop", "--all")
        check_codes(bench, codes)
        for strategy_id in ids:
            check_log(bench, strategy_id, leaders[strategy_id], seed)
        assert worst <= BACK_WITHIN_S, f"back in step only after {worst:.2f} s (seed {seed})"
    finally:
        bench.close()


def one_round(bench: Workbench, ids: list[str], dice: random.Random, *, everybody: bool) -> int:
    """Kill one, some or all of ours at a random moment; the number that was really killed."""
    time.sleep(dice.uniform(0, 0.25))  # the moment is the point, nothing waits for it
    runners = [bench.runner_pid(strategy_id) for strategy_id in ids]
    if everybody:
        victims = [bench.launcher_pid(), bench.supervisor_pid(), *runners]
    else:
        victims = dice.sample(runners, dice.randrange(0, 4))
        victims += [bench.launcher_pid()] if dice.random() < 0.4 else []
        victims += [bench.supervisor_pid()] if dice.random() < 0.4 else []
    dice.shuffle(victims)
    return sum(kill(pid) for pid in victims)


def check_codes(bench: Workbench, codes: dict[str, int]) -> None:
    """Every exit code is right, or honestly unknown."""
    unknown = []
    for strategy_id, code in codes.items():
        row = bench.status(strategy_id)
        if row["exit_code"] is None:
            unknown.append(strategy_id)
        else:
            assert (row["exit_code"], row["signal"]) == (code, None), row
    print(f"exit codes: {len(codes) - len(unknown)} right, unknown: {unknown}")


def check_log(bench: Workbench, strategy_id: str, leader: int | None, seed: int) -> None:
    """One start; lines 0..N of that one process, none lost, doubled or torn."""
    starts = (bench.folder / "strategies" / "state" / strategy_id / "starts").read_text().split()
    assert starts == [str(leader)], f"{strategy_id} was started {len(starts)} times (seed {seed})"
    assert leader is not None
    assert not pid_alive(leader)
    lines = [line for line in bench.log(strategy_id).splitlines() if line]
    numbers = [int(match[1]) for line in lines if (match := re.fullmatch(rf"<{leader}:(\d+)>", line))]
    assert len(numbers) == len(lines), f"{strategy_id}: torn or foreign lines (seed {seed})"
    assert numbers == list(range(len(numbers))), f"{strategy_id}: lines lost or doubled (seed {seed})"


def test_panic_ends_every_tree_with_nothing_of_ours_alive(tmp_path: Path) -> None:
    bench = Workbench.make(tmp_path / "w")
    try:
        bench.cli("up")
        ids = [f"s{n}" for n in range(6)]
        for strategy_id in ids:
            bench.register(strategy_id, ENDLESS)
        bench.cli("start", *ids)
        leaders = [bench.leader_pid(strategy_id) for strategy_id in ids]
        (bench.folder / ".stratpanel" / "wanted").unlink()  # nobody may come back
        for pid in [bench.launcher_pid(), bench.supervisor_pid(), *(bench.runner_pid(i) for i in ids)]:
            assert kill(pid) == 1
        wait_for(lambda: bench.launcher_pid() is None and bench.supervisor_pid() is None, 5, "our death")
        assert all(pid is not None and pid_alive(pid) for pid in leaders)
        done = bench.cli("panic")
        assert "6 stopped" in done.stdout
        assert not any(pid is not None and pid_alive(pid) for pid in leaders)
        assert bench.launcher_pid() is None
    finally:
        bench.close()
