"""The status says when a working copy is not what runs, and looking for that costs next to nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from stratpanel.supervisor import copies
from stratpanel.supervisor.unit import Unit
from stratpanel.supervisor.versions import fingerprints
from tests.supervisor.fakes import Bench, settle


@pytest.fixture(autouse=True)
def old_files_are_old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of these tests are a moment old; only one test is about that."""
    monkeypatch.setattr(fingerprints, "FRESH_NS", 0)


def script(bench: Bench, id: str = "ema") -> Path:
    return bench.workspace / "strategies" / "scripts" / f"{id}.py"


async def look(bench: Bench) -> None:
    """A beat, and the end of what it began."""
    bench.core.copies.beat()
    while bench.core.copies._looking:
        await settle()


def told(bench: Bench, unit: Unit) -> tuple[Any, ...]:
    status = bench.core.status_of(unit)
    return tuple(
        status[name]
        for name in ("working_copy_differs", "working_copy_version", "deployed_version", "promoted_version")
    )


async def test_nothing_differs_from_nothing(bench: Bench) -> None:
    unit = await bench.add()
    await look(bench)
    assert told(bench, unit) == (None, None, None, None)


async def test_an_edit_under_a_running_strategy_is_told_and_taken_back(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    await look(bench)
    assert told(bench, unit) == (False, 1, 1, None)
    changed: set[str] = set()
    bench.core.on_change(lambda ids, _removed, _supervisor: changed.update(ids))
    script(bench).write_text("print('edited')\n")
    await look(bench)
    assert told(bench, unit) == (True, None, 1, None)
    await settle()
    assert changed == {"ema"}, "pages are told"
    script(bench).write_text("print('hello')\n")
    await look(bench)
    assert told(bench, unit) == (False, 1, 1, None)


async def test_a_newer_deploy_differs_from_what_runs_and_not_from_what_is_deployed(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    script(bench).write_text("print('second')\n")
    versions = bench.core.shelf.versions
    bench.core.version_is(unit, versions.deploy("ema", script(bench), by="tester").version.n)
    await look(bench)
    assert told(bench, unit) == (True, 2, 2, None), "version 1 runs"
    versions.promote("ema", by="tester", n=1)
    await look(bench)
    assert told(bench, unit) == (True, 2, 1, 1), "the newest is known too: a person rolled back from it"


async def test_a_module_beside_the_script_belongs_to_it(bench: Bench) -> None:
    beside = script(bench, "prices")
    beside.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text("TICK = 1\n")
    unit = await bench.add()
    script(bench).write_text("import prices\n")
    await bench.started(unit)
    await look(bench)
    assert told(bench, unit)[0] is False
    beside.write_text("TICK = 2\n")
    await look(bench)
    assert told(bench, unit)[0] is True


async def test_a_file_that_came_into_a_folder_counts(bench: Bench) -> None:
    unit = await bench.add("pairs")
    folder = bench.workspace / "strategies" / "scripts" / "pairs"
    (folder / "data").mkdir(parents=True)
    (folder / "main.py").write_text("print('hello')\n")
    await bench.core.fleet.patch(unit, {"file_path": "pairs"}, None, "tester")
    await bench.started(unit)
    await look(bench)
    assert told(bench, unit)[0] is False
    (folder / "data" / "symbols.txt").write_text("NIFTY\n")
    await look(bench)
    assert told(bench, unit)[0] is True


async def test_a_script_that_went_away_is_unknown_not_equal(bench: Bench) -> None:
    unit = await bench.add()
    await bench.started(unit)
    await look(bench)
    script(bench).unlink()
    await look(bench)
    assert told(bench, unit) == (None, None, 1, None)


async def test_only_what_changed_is_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = fingerprints.read_working_copy

    def counted(path: Path, **words: str) -> Any:
        read.append(path.stem)
        return real(path, **words)

    monkeypatch.setattr(fingerprints, "read_working_copy", counted)
    for n in range(300):
        await bench.add(f"s{n}")
    for _ in range(8):
        await look(bench)
    assert sorted(read) == sorted(f"s{n}" for n in range(300)), "each once, however often it was looked at"
    read.clear()
    script(bench, "s7").write_text("print('new')\n")
    os.utime(script(bench, "s8"))
    for _ in range(3):
        await look(bench)
    assert sorted(read) == ["s7", "s8"]


async def test_a_look_at_a_thousand_costs_milliseconds_a_beat(bench: Bench) -> None:
    units = [await bench.add("one")]
    for n in range(199):
        units.append(await bench.add(f"t{n}"))
    for _ in range(4):
        await look(bench)
    subjects = [copies._Subject(unit.id, script(bench, unit.id), None) for unit in units]
    before = time.thread_time()
    assert bench.core.copies._compare(subjects) == {}
    assert time.thread_time() - before < 0.04, "200 of them; a beat is 2 s"


async def test_a_file_changed_a_moment_ago_is_read_once_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "FRESH_NS", 3_600_000_000_000)
    unit = await bench.add()
    await bench.started(unit)
    await look(bench)
    at = script(bench).stat()
    script(bench).write_text("print('hallo')\n")  # as long as before
    os.utime(script(bench), ns=(at.st_atime_ns, at.st_mtime_ns))  # as a coarse clock would date it
    await look(bench)
    assert told(bench, unit)[0] is True
