"""What was made cheap keeps its promises: the registry follows a burst, and a bad hold is still not written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stratpanel.model.strategy import Strategy, report
from stratpanel.model.values import Hold, RestartPolicy
from stratpanel.supervisor import fleet
from stratpanel.supervisor.registry import registry as registry_module
from stratpanel.supervisor.registry.registry import Registry, RegistryError
from tests.supervisor.fakes import Bench


async def registered(bench: Bench) -> tuple[Path, bytes, Callable[[int], Awaitable[None]]]:
    """The registry's file and bytes with one strategy in it, and what changes its hold, 50 ms a time."""
    unit = await bench.add()
    await bench.core.fleet.durable()
    registry = bench.workspace / "strategies" / "strategy_configs.json"

    async def change(n: int) -> None:
        bench.core.set_hold(unit, "stopped" if n % 2 else "paused", by="tester", why=str(n))
        await asyncio.sleep(0.05)

    return registry, registry.read_bytes(), change


async def test_a_burst_of_changes_is_one_write_when_it_is_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "SAVE_AFTER_S", 1.0)
    registry, before, change = await registered(bench)
    for n in range(6):
        await change(n)
        assert registry.read_bytes() == before, f"written in the middle of the burst, after change {n}"
    for _ in range(500):
        if registry.read_bytes() != before:
            break
        await asyncio.sleep(0.02)
    assert json.loads(registry.read_text())["ema"]["hold"]["why"] == "5"


async def test_many_changes_are_one_write_and_others_have_their_turn_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [await bench.add(f"s{n}") for n in range(35)]
    await bench.core.fleet.durable()
    writes: list[bytes] = []
    real = registry_module.replace

    def counted(path: Path, data: bytes, *rest: Any) -> Any:
        writes.append(data)
        return real(path, data, *rest)

    monkeypatch.setattr(registry_module, "replace", counted)
    for unit in units:
        bench.core.set_hold(unit, "stopped", by="tester", why="first")
    saving = asyncio.ensure_future(bench.core.fleet.durable())
    turns = 0
    while bench.core.fleet._dirty:
        await asyncio.sleep(0)
        turns += 1
        if turns == 5:  # in the middle of making the entries ready
            bench.core.set_hold(units[0], "paused", by="tester", why="second")
    assert turns >= 4, "35 entries are made ready in several turns of the loop"
    await saving
    await bench.core.fleet.durable()
    written = json.loads((bench.workspace / "strategies" / "strategy_configs.json").read_text())
    assert [written[unit.id]["hold"]["why"] for unit in units] == ["second"] + ["first"] * 34
    assert 1 <= len(writes) <= 2, "all of them, and what changed meanwhile"


async def test_changes_that_never_calm_down_are_written_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "SAVE_AFTER_S", 0.3)
    monkeypatch.setattr(fleet, "SAVE_LATEST_S", 0.6)
    registry, before, change = await registered(bench)
    for n in range(200):
        await change(n)
        if registry.read_bytes() != before:
            break
    assert registry.read_bytes() != before


def test_a_hold_that_the_next_load_would_refuse_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(tmp_path / "strategy_configs.json")
    strategies = {"ema": Strategy.from_config("ema", {"file_path": "ema.py"})}
    registry.save(strategies)
    before = registry.path.read_bytes()
    report(strategies["ema"], hold=Hold(kind="stopped", by="tester", why="x"))
    monkeypatch.setattr(Hold.param.why, "longest", 0)
    result = registry.save(strategies, {"ema"})
    assert result.outcome == "failed"
    assert "why" in (result.problem or "")
    assert registry.path.read_bytes() == before
    monkeypatch.undo()
    assert registry.save(strategies, ()).kept
    assert json.loads(registry.path.read_text())["ema"]["hold"]["why"] == "x"
    assert Registry(registry.path).load()["ema"].hold.kind == "stopped"


def test_a_configuration_is_still_checked_beside_a_hold(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "strategy_configs.json")
    strategies = {"ema": Strategy.from_config("ema", {"file_path": "ema.py"})}
    registry.save(strategies)
    strategies["ema"].restart = RestartPolicy(backoff_s=500, backoff_max_s=5)  # each fits alone
    report(strategies["ema"], hold=Hold(kind="stopped", by="tester"))
    with pytest.raises(RegistryError, match="backoff"):
        registry.save(strategies, {"ema"}).require()
