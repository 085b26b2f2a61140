"""Every action in every state has one answer; asked twice at once, from two clients, it is done once.

Rows are the states of CONTRACTS, columns the five actions. A cell says `changed`, the state afterwards, or the error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stratpanel.model.errors import StratpanelError
from stratpanel.model.states import State
from stratpanel.supervisor.unit import Unit
from tests.supervisor.fakes import Bench, settle

YES, NO = True, False

#: state -> action -> (changed or error code, state afterwards)
MATRIX: dict[str, dict[str, tuple[bool | str, str]]] = {
    "stopped": {
        "start": (YES, "running"),
        "stop": (NO, "stopped"),
        "kill": (NO, "stopped"),
        "restart": (YES, "running"),
        "reset": (NO, "stopped"),
    },
    "starting": {
        "start": (NO, "running"),
        "stop": (YES, "stopped"),
        "kill": (YES, "stopped"),
        "restart": (YES, "running"),
        "reset": (NO, "starting"),
    },
    "running": {
        "start": (NO, "running"),
        "stop": (YES, "stopped"),
        "kill": (YES, "stopped"),
        "restart": (YES, "running"),
        "reset": (NO, "running"),
    },
    "stopping": {
        "start": (YES, "running"),
        "stop": (NO, "stopped"),
        "kill": (YES, "stopped"),
        "restart": (YES, "running"),
        "reset": (NO, "stopping"),
    },
    "backoff": {
        "start": (YES, "running"),
        "stop": (YES, "stopped"),
        "kill": (YES, "stopped"),
        "restart": (YES, "running"),
        "reset": (NO, "backoff"),
    },
    "exited": {
        "start": (YES, "running"),
        "stop": (NO, "exited"),
        "kill": (NO, "exited"),
        "restart": (YES, "running"),
        "reset": (YES, "stopped"),
    },
    "fatal": {
        "start": (YES, "running"),
        "stop": (NO, "fatal"),
        "kill": (NO, "fatal"),
        "restart": (YES, "running"),
        "reset": (YES, "stopped"),
    },
    "lost": {
        "start": ("STATE_LOST", "lost"),
        "stop": (NO, "lost"),
        "kill": (NO, "lost"),
        "restart": ("STATE_LOST", "lost"),
        "reset": (YES, "stopped"),
    },
}
ACTIONS = ("start", "stop", "kill", "restart", "reset")
CELLS = [(state, action) for state in MATRIX for action in ACTIONS]


def test_the_matrix_is_whole() -> None:
    assert set(MATRIX) == {state.value for state in State}
    assert all(set(row) == set(ACTIONS) for row in MATRIX.values())


async def bring(bench: Bench, unit: Unit, state: str) -> None:
    """Lead a fresh strategy into the state, as life does."""
    core, processes = bench.core, bench.processes
    if state == "stopped":
        return
    if state == "starting":
        task = asyncio.create_task(core.actions.start(unit, by="setup"))
        bench.setup = task  # type: ignore[attr-defined]
        await bench.at_work(unit)
        return
    if state == "fatal":
        processes.behave = lambda runner: (processes.living.pop(runner.id), refuse(runner))
        with pytest.raises(StratpanelError):
            await core.actions.start(unit, by="setup")
        processes.behave = lambda runner: runner.run()
        return
    await bench.started(unit)
    runner = processes.last(unit.id)
    if state == "stopping":
        runner.obedient = False
        core.stops.ask(unit, reason="window", by="schedule")
        await settle()
    elif state == "backoff":
        runner.exit(1)
        await settle()
    elif state == "exited":
        runner.exit(0)
        await settle()
    elif state == "lost":
        folder = bench.runtime.run_dir(unit.id)
        (folder / "status.json").write_text(json.dumps(runner.status))
        (folder / "run.lock").touch()
        runner.status = {**runner.status, "members": [], "leader": None}
        processes.deaf = True
        runner.die()
        await settle()
        await bench.clock.advance(6)
        await bench.reach(unit, "lost")


def refuse(runner: Any) -> None:
    runner.on_message({"ev": "refused", "code": "INTERPRETER_MISSING", "message": "cannot start ema: no python"})


async def a_unit(bench: Bench, state: str) -> Unit:
    policy = "on-failure" if state == "backoff" else "never"
    unit = await bench.add("ema", restart={"policy": policy, "backoff_s": 60, "backoff_max_s": 60})
    await bring(bench, unit, state)
    assert unit.state.value == state, unit
    return unit


async def outcome(action: Awaitable[Any]) -> bool | str:
    try:
        result = await action
    except StratpanelError as error:
        return error.code
    assert result.strategy["id"] == "ema"
    return bool(result.changed)


async def all_of(bench: Bench, actions: list[Awaitable[Any]], obeys: bool = True) -> list[bool | str]:
    """Do them at once; the old run obeys late, and time passes, until all have answered."""
    tasks = [asyncio.create_task(outcome(action)) for action in actions]
    for _ in range(200):
        await settle()
        for runner in list(bench.processes.living.values()):
            if obeys and runner.status["phase"] == "stopping" and not runner.obedient:
                runner.exit(0)
        if all(task.done() for task in tasks):
            break
        await asyncio.sleep(0.01)  # worker threads deploy
        await bench.clock.advance(0.25)
    return list(await asyncio.wait_for(asyncio.gather(*tasks), 5))


def act(bench: Bench, unit: Unit, action: str, by: str) -> Awaitable[Any]:
    actions = bench.core.actions
    todo: dict[str, Callable[[], Awaitable[Any]]] = {
        "start": lambda: actions.start(unit, by=by),
        "stop": lambda: actions.stop(unit, by=by),
        "kill": lambda: actions.stop(unit, by=by, kill=True),
        "restart": lambda: actions.restart(unit, by=by),
        "reset": lambda: actions.reset(unit, by=by),
    }
    return todo[action]()


async def finish(bench: Bench) -> None:
    setup = getattr(bench, "setup", None)
    if setup is not None:
        setup.cancel()
        await asyncio.gather(setup, return_exceptions=True)
    await bench.close()


@pytest.mark.parametrize(("state", "action"), CELLS)
async def test_one_client(tmp_path: Path, state: str, action: str) -> None:
    changed, after = MATRIX[state][action]
    bench = await Bench(tmp_path).open()
    unit = await a_unit(bench, state)
    runs = len(bench.processes.runners)
    assert await all_of(bench, [act(bench, unit, action, "anna")], action != "reset") == [changed]
    await settle()
    assert unit.state.value == after, unit
    assert len(bench.processes.living) == (after in ("starting", "running", "stopping") or state == "lost")
    begun = len(bench.processes.runners) - runs
    assert begun == (changed is YES and after == "running")
    if action in ("stop", "kill"):
        assert unit.hold.kind == "stopped", "the hold is set all the same"
    await finish(bench)


@pytest.mark.parametrize(("state", "action"), CELLS)
async def test_two_clients_at_once(tmp_path: Path, state: str, action: str) -> None:
    changed, after = MATRIX[state][action]
    bench = await Bench(tmp_path).open()
    unit = await a_unit(bench, state)
    runs = len(bench.processes.runners)
    both = [act(bench, unit, action, "anna"), act(bench, unit, action, "ben")]
    answers = await all_of(bench, both, action != "reset")
    await settle()
    assert changed in answers
    assert unit.state.value == after, unit
    if changed is YES and after == "running" and action == "start":
        assert len(bench.processes.runners) - runs == 1, "one run, whoever asked"
    assert len(bench.processes.living) <= 1
    await finish(bench)


@pytest.mark.parametrize("state", list(MATRIX))
@pytest.mark.parametrize("first", ["start", "restart"])
async def test_a_stop_that_comes_with_a_start_wins(tmp_path: Path, state: str, first: str) -> None:
    """Of two clients who want opposite things the one who wants it stopped, and spoke last, is obeyed."""
    bench = await Bench(tmp_path).open()
    unit = await a_unit(bench, state)
    await all_of(bench, [act(bench, unit, first, "anna"), act(bench, unit, "stop", "ben")])
    await settle()
    await bench.clock.advance(120)
    assert unit.hold.kind == "stopped"
    assert unit.state.value in ("stopped", "exited", "fatal", "lost"), unit
    assert unit.state.value == "lost" or not bench.processes.living
    await finish(bench)
