"""Each action has one answer in every state; two callers at once get one run; nothing is started twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from stratpanel.model.errors import Conflict, InvalidValue, NotFound
from tests.supervisor.fakes import Bench, settle


async def test_start_answers_when_alive_for_start_seconds(bench: Bench) -> None:
    unit = await bench.add()
    result = await bench.started(unit)
    assert result.changed
    assert result.strategy["state"] == "running"
    assert result.strategy["pid"] is not None
    assert result.strategy["version"] == 1
    assert unit.hold.kind == "started"
    assert len(bench.processes.runners) == 1


async def test_start_of_a_running_one_changes_nothing(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    again = await bench.core.actions.start(unit, by="other")
    assert not again.changed
    assert len(bench.processes.runners) == 1


async def test_two_starts_at_once_make_one_run(bench: Bench) -> None:
    unit = await bench.add()
    starts = [asyncio.create_task(bench.core.actions.start(unit, by=f"client {n}")) for n in range(2)]
    await bench.at_work(unit)
    await bench.clock.advance(1.0)
    results = await asyncio.gather(*starts)
    assert sorted(result.changed for result in results) == [False, True]
    assert all(result.strategy["state"] == "running" for result in results)
    assert len(bench.processes.runners) == 1


async def test_a_start_that_crashes_at_once_is_refused_with_its_code(bench: Bench) -> None:
    unit = await bench.add()

    def crash(runner: object) -> None:
        runner.run()  # type: ignore[attr-defined]
        runner.exit(3)  # type: ignore[attr-defined]

    bench.processes.behave = crash
    with pytest.raises(InvalidValue) as caught:
        await bench.core.actions.start(unit, by="tester")
    assert caught.value.code == "START_FAILED"
    assert "exit code 3" in caught.value.message
    assert unit.state == "exited"
    assert unit.last is not None
    assert unit.last.exit_code == 3


async def test_a_start_that_finishes_with_zero_at_once_is_done(bench: Bench) -> None:
    unit = await bench.add()

    def finish(runner: object) -> None:
        runner.run()  # type: ignore[attr-defined]
        runner.exit(0)  # type: ignore[attr-defined]

    bench.processes.behave = finish
    result = await bench.core.actions.start(unit, by="tester")
    assert result.changed
    assert result.strategy["state"] == "exited"
    assert result.strategy["exit_code"] == 0
    assert unit.hold.kind == "none", "it ended by itself: nothing keeps it running any more"


async def test_an_end_whose_beginning_nobody_saw_is_an_end_and_no_refusal(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    bench.processes.runners[-1].exit(None, began=None, route="unknown")
    await bench.until(unit, lambda: not unit.is_live, "the end")
    assert unit.state == "exited"
    assert "nobody could see its exit code" in unit.why
    assert "fatal" not in bench.events("ema"), "the restart policy judges it"


async def test_a_refused_start_is_fatal_with_the_reason(bench: Bench) -> None:
    unit = await bench.add()
    bench.processes.behave = lambda runner: runner.on_message(
        {"ev": "refused", "code": "LOG_UNWRITABLE", "message": "cannot write the log: read-only"}
    )
    with pytest.raises(InvalidValue, match="read-only"):
        await bench.core.actions.start(unit, by="tester")
    assert unit.state == "fatal"


async def test_a_missing_script_is_fatal_and_nothing_is_spawned(bench: Bench) -> None:
    unit = await bench.add()
    (bench.workspace / "strategies/scripts/ema.py").unlink()
    with pytest.raises(InvalidValue):
        await bench.core.actions.start(unit, by="tester")
    assert unit.state == "fatal"
    assert not bench.processes.runners


async def test_a_missing_interpreter_names_itself(bench: Bench) -> None:
    unit = await bench.add(interpreter="/nowhere/python")
    with pytest.raises(InvalidValue, match="/nowhere/python"):
        await bench.core.actions.start(unit, by="tester")
    assert unit.state == "fatal"


async def test_stop_sets_the_hold_and_answers_when_ended(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    result = await bench.core.actions.stop(unit, by="anna", why="lunch")
    assert result.changed
    assert result.strategy["state"] == "stopped"
    assert result.strategy["hold"] == "stopped"
    assert result.strategy["hold_detail"]["by"] == "anna"
    assert result.strategy["hold_detail"]["why"] == "lunch"
    assert result.strategy["pid"] is None


async def test_stop_of_a_stopped_one_sets_the_hold_all_the_same(bench: Bench) -> None:
    unit = await bench.add()
    result = await bench.core.actions.stop(unit, by="anna")
    assert not result.changed
    assert result.strategy["hold"] == "stopped"


async def test_two_stops_at_once_are_one(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    both = await asyncio.gather(*(bench.core.actions.stop(unit, by="x") for _ in range(2)))
    assert sorted(result.changed for result in both) == [False, True]
    assert [r["op"] for r in bench.processes.last("ema").requests].count("stop") == 1


async def test_kill_escalates_a_stop_that_is_not_obeyed(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    bench.processes.last("ema").obedient = False
    stopping = asyncio.create_task(bench.core.actions.stop(unit, by="x"))
    await bench.reach(unit, "stopping")
    killed = await bench.core.actions.stop(unit, by="x", kill=True)
    assert killed.strategy["state"] == "stopped"
    assert killed.strategy["signal"] == "SIGKILL"
    await stopping


async def test_stop_while_the_start_waits_for_the_launcher_stops_it(bench: Bench) -> None:
    unit = await bench.add()
    bench.processes.gate = asyncio.Event()
    starting = asyncio.create_task(bench.core.actions.start(unit, by="a"))
    await bench.ordered(unit)
    stopping = asyncio.create_task(bench.core.actions.stop(unit, by="b"))
    await settle()
    assert unit.state == "stopping"
    bench.processes.gate.set()
    assert (await stopping).strategy["state"] == "stopped"
    with pytest.raises(Conflict):
        await starting
    assert not bench.processes.living


async def test_start_while_stopping_waits_and_then_starts(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    first = bench.processes.last("ema")
    first.obedient = False
    stopping = asyncio.create_task(bench.core.actions.stop(unit, by="a"))
    await bench.reach(unit, "stopping")
    starting = asyncio.create_task(bench.core.actions.start(unit, by="b"))
    await settle()
    assert len(bench.processes.runners) == 1
    first.exit(0)
    await bench.at_work(unit, runs=2)
    await bench.clock.advance(1.0)
    assert (await starting).strategy["state"] == "running"
    await stopping


async def test_restart_keeps_version_parameters_and_arguments(bench: Bench) -> None:
    unit = await bench.add()
    going = asyncio.create_task(bench.core.actions.start(unit, by="a", params={"fast": 12}, args=["--x"]))
    await bench.at_work(unit)
    await bench.clock.advance(1.0)
    await going
    (bench.workspace / "strategies/scripts/ema.py").write_text("print('edited')\n")
    again = asyncio.create_task(bench.core.actions.restart(unit, by="b"))
    await bench.at_work(unit, runs=2)
    await bench.clock.advance(1.0)
    result = await again
    assert result.changed
    one, two = bench.processes.runners
    assert one.requests[0]["reason"] == "restart"
    assert two.spec["version"] == one.spec["version"] == 1
    assert two.spec["argv"] == one.spec["argv"]
    assert two.spec["env"]["SP_FAST"] == one.spec["env"]["SP_FAST"] == "12"
    assert json.loads(Path(two.spec["env"]["SP_PARAMS_FILE"]).read_text()) == {"fast": 12}
    assert unit.hold.kind == "started", "a restart is no stop"


async def test_a_persons_start_deploys_a_changed_working_copy(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    await bench.core.actions.stop(unit, by="a")
    (bench.workspace / "strategies/scripts/ema.py").write_text("print('edited')\n")
    assert (await bench.started(unit)).strategy["version"] == 2


async def test_reset_clears_exited_and_leaves_a_running_one(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    assert not (await bench.core.actions.reset(unit, by="a")).changed
    bench.processes.last("ema").exit(9)
    assert unit.state == "exited"
    result = await bench.core.actions.reset(unit, by="a")
    assert result.changed
    assert result.strategy["state"] == "stopped"


async def test_panic_ends_all_and_refuses_starts_until_resume(bench: Bench) -> None:
    units = [await bench.add(name) for name in ("a", "b", "c")]
    for unit in units[:2]:
        await bench.started(unit)
    result = await bench.core.actions.panic(by="anna", why="exchange halted")
    assert sorted(result["stopped"]) == ["a", "b"]
    assert result["left"] == []
    assert bench.runtime.panic.exists()
    assert {unit.state.value for unit in units} == {"stopped"}
    with pytest.raises(Conflict) as caught:
        await bench.core.actions.start(units[2], by="bob")
    assert caught.value.code == "PANIC"
    would = (await bench.core.actions.resume_all(by="anna", dry_run=True))["would_start"]
    assert sorted(row["id"] for row in would) == ["a", "b"], "each returns to the hold it had before"
    await bench.core.actions.resume_all(by="anna")
    await bench.reach(units[0], "starting")
    await bench.reach(units[1], "starting")
    assert units[2].state == "stopped"


async def test_pause_starts_nothing_and_stops_nothing(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    await bench.core.actions.pause(unit, by="a")
    await settle()
    assert unit.state == "running"
    await bench.core.actions.resume(unit, by="a")
    await settle()
    assert unit.state == "running"


async def test_manual_start_works_in_a_paused_workspace(bench: Bench) -> None:
    unit = await bench.add()
    await bench.core.actions.pause_all(by="a", why="holiday")
    assert bench.core.supervisor_status()["state"] == "paused"
    result = await bench.started(unit)
    assert result.strategy["state"] == "running"


async def test_remove_of_a_running_one_is_refused(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    with pytest.raises(Conflict) as caught:
        await bench.core.fleet.remove(unit, "a")
    assert caught.value.code == "STRATEGY_RUNNING"
    await bench.core.actions.stop(unit, by="a")
    await bench.core.fleet.remove(unit, "a")
    with pytest.raises(NotFound):
        bench.core.unit("ema")


async def test_fifty_stops_take_as_long_as_the_slowest(bench: Bench) -> None:
    units = [await bench.add(f"s{n}") for n in range(50)]
    going = [asyncio.create_task(bench.core.actions.start(unit, by="t")) for unit in units]
    for unit in units:
        await bench.at_work(unit)
    await bench.clock.advance(1.0)
    await asyncio.gather(*going)
    for runner in bench.processes.runners:
        runner.obedient = False
    stops = [asyncio.create_task(bench.core.actions.stop(unit, by="t")) for unit in units]
    await settle()
    assert all(unit.state == "stopping" for unit in units), "each runner was told before any had ended"
    for runner in bench.processes.runners:
        runner.exit(0)
    await asyncio.gather(*stops)


async def test_the_environment_of_a_run_is_the_allow_list(bench: Bench) -> None:
    unit = await bench.add(env={"MINE": "1", "OMP_NUM_THREADS": "7"})
    await bench.started(unit)
    env = bench.processes.last("ema").spec["env"]
    assert "STRATPANEL_TOKEN" not in env
    assert env["MINE"] == "1"
    assert env["OMP_NUM_THREADS"] == "7"
    assert env["OPENBLAS_NUM_THREADS"].isdigit()
    assert env["BROKER_KEY"] == "paper-secret"
    assert env["STRATEGY_ID"] == "ema"
    assert env["SP_MODE"] == "paper"
    assert env["STRATPANEL_RUN_ID"] == bench.processes.last("ema").spec["run_id"]
    assert "env" not in bench.processes.last("ema").status["spec"]
