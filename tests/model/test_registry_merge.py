"""Two hands on one file: a person's value wins field by field, nothing of either is lost, and every edit is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stratpanel.model import schema
from stratpanel.model.states import State
from stratpanel.model.strategy import Strategy, report
from stratpanel.model.values import Hold, Schedule
from stratpanel.supervisor.registry.entry import RUNTIME
from stratpanel.supervisor.registry.registry import Registry
from tests.model.configs import configs
from tests.model.registries import SEED, edit, loaded, registry_at, written

ID = "strategy_id"


def test_both_sides_change_different_fields(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    strategy = strategies[ID]
    schema.patch(strategy, {"grace_s": 9, "limits": {"memory_mb": 512}})
    edit(registry, lambda document: document[ID].update(schedule_stop="15:20", limits={"nofile": 99}))
    found = registry.save(strategies)
    assert found.outcome == "written"
    assert found.changed == [ID]
    assert (strategy.grace_s, strategy.limits.memory_mb, strategy.limits.nofile) == (9, 512, 99)
    assert strategy.schedule.windows[0].stop == "15:20"
    assert {edit.field for edit in found.edits} == {"schedule_stop", "limits.nofile"}
    assert not any(edit.conflict for edit in found.edits)
    entry = written(registry)[ID]
    assert (entry["grace_s"], entry["schedule_stop"], entry["limits"]) == (9, "15:20", {"nofile": 99, "memory_mb": 512})


def test_where_both_changed_one_field_the_person_wins_and_it_is_told(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    schema.patch(strategies[ID], {"grace_s": 9})
    edit(registry, lambda document: document[ID].update(grace_s=20))
    found = registry.save(strategies)
    assert strategies[ID].grace_s == 20
    assert [str(edit) for edit in found.edits] == [
        "strategy_id: grace_s set to 20 in the registry file, instead of our 9"
    ]
    assert registry.save(strategies).outcome == "unchanged", "the merge is settled"


def test_watchers_hear_of_an_edit_and_the_object_stays_the_same(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    strategy = strategies[ID]
    seen: list[str] = []
    strategy.param.watch(lambda *events: seen.extend(event.name for event in events), ["grace_s", "hold"])
    edit(registry, lambda document: document[ID].update(grace_s=20, manually_stopped=True))
    registry.save(strategies)
    assert strategies[ID] is strategy
    assert sorted(seen) == ["grace_s", "hold"]


def test_runtime_fields_are_ours_alone(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    report(strategies[ID], state=State.RUNNING, pid=77, restarts=2)
    edit(registry, lambda document: document[ID].update(pid=1, is_running=False, restart_count="x"))
    found = registry.save(strategies)
    assert found.edits == []
    entry = written(registry)[ID]
    assert (entry["pid"], entry["is_running"], entry["restart_count"]) == (77, True, 2)


def test_manually_stopped_is_a_switch_in_the_file(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    strategy = strategies[ID]
    report(strategy, hold=Hold(kind="stopped", by="anna", why="expiry"))
    registry.save(strategies)
    entry = written(registry)[ID]
    assert entry["manually_stopped"] is True
    assert entry["hold"]["by"] == "anna"
    edit(registry, lambda document: document[ID].update(manually_stopped=False))
    registry.save(strategies)
    assert strategy.hold == Hold()
    assert "hold" not in written(registry)[ID]
    edit(registry, lambda document: document[ID].update(manually_stopped=True))
    registry.save(strategies)
    assert (strategy.hold.kind, strategy.hold.by) == ("stopped", "registry file")
    edit(registry, lambda document: document[ID].update(hold={"kind": "started", "by": "anna"}))
    registry.save(strategies)
    assert (strategy.hold.kind, written(registry)[ID]["manually_stopped"]) == ("started", False)


def test_manually_stopped_counts_at_the_next_load_too(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    report(strategies[ID], hold=Hold(kind="stopped", by="anna"))
    registry.save(strategies)
    assert Registry(registry.path).load()[ID].hold.by == "anna"
    edit(registry, lambda document: document[ID].update(manually_stopped=False))
    assert Registry(registry.path).load()[ID].hold.kind == "none"


def test_auto_restart_and_the_policy_follow_whichever_a_person_changed(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    strategy = strategies[ID]

    def after(**change: Any) -> tuple[str, bool]:
        edit(registry, lambda document: document[ID].update(change))
        registry.save(strategies)
        return strategy.restart.policy, written(registry)[ID]["auto_restart"]

    assert after(auto_restart=True) == ("on-failure", True)
    assert after(restart={"policy": "always"}) == ("always", True)
    assert after(auto_restart=False) == ("never", False)
    assert after(restart={"policy": "on-failure", "max_restarts": 2}) == ("on-failure", True)
    assert strategy.restart.max_restarts == 2
    assert Registry(registry.path).load()[ID].restart == strategy.restart


def test_always_survives_a_reload(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    for policy in ("always", "on-failure", "never"):
        schema.patch(strategies[ID], {"restart": {"policy": policy}})
        registry.save(strategies)
        assert Registry(registry.path).load()[ID].restart.policy == policy


def test_a_person_s_way_of_writing_is_kept(tmp_path: Path) -> None:
    text = SEED.replace('["mon", "tue", "wed", "thu", "fri"]', '"mon-fri"').replace('"09:20"', '"open+1h"')
    registry, strategies = loaded(tmp_path, text)
    entry = written(registry)[ID]
    assert (entry["schedule_days"], entry["schedule_start"]) == ("mon-fri", "open+1h")
    schema.patch(strategies[ID], {"grace_s": 8})
    registry.save(strategies)
    assert written(registry)[ID]["schedule_days"] == "mon-fri"


def test_unknown_fields_stay_at_every_depth(tmp_path: Path) -> None:
    extra = {"broker": "x", "limits": {"nofile": 99, "cores": 2}, "restart": {"jitter": 1}}
    registry, strategies = loaded(tmp_path, json.dumps({"a": {"file_path": "a.py", **extra}}))
    schema.patch(strategies["a"], {"limits": {"nofile": 100, "memory_mb": 7}, "restart": {"policy": "always"}})
    registry.save(strategies)
    entry = written(registry)["a"]
    assert entry["broker"] == "x"
    assert entry["limits"] == {"nofile": 100, "cores": 2, "memory_mb": 7}
    assert entry["restart"] == {"jitter": 1, "policy": "always"}


def test_entries_come_and_go(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    strategies["ours"] = Strategy.from_config("ours", {"file_path": "ours.py"})

    def change(document: dict[str, Any]) -> None:
        del document[ID]
        document["theirs"] = {"file_path": "theirs.py"}

    edit(registry, change)
    found = registry.save(strategies)
    assert found.removed == [ID]
    assert list(found.added) == ["theirs"]
    assert set(written(registry)) == {"ours", "theirs"}
    strategies.update(found.added)
    assert registry.save(strategies).removed == [], "told once"
    assert set(written(registry)) == {"ours", "theirs"}, "a removed one that still runs is not written back"
    gone = strategies.pop(ID)
    registry.save(strategies)
    strategies[ID] = gone
    registry.save(strategies)
    assert ID in written(registry), "registered anew"


def test_what_we_removed_stays_removed_unless_a_person_edited_it_meanwhile(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path, '{"a": {"file_path": "a.py"}, "b": {"file_path": "b.py"}}')
    strategies.clear()
    edit(registry, lambda document: document["b"].update(grace_s=9))
    found = registry.save(strategies)
    assert list(found.added) == ["b"]
    assert [str(edit) for edit in found.edits] == ["b: kept, though we removed it in the registry file"]
    assert list(written(registry)) == ["b"]


def test_a_file_that_vanished_is_written_anew_and_is_no_edit(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    registry.path.unlink()
    assert registry.changed_on_disk()
    found = registry.save(strategies)
    assert (found.outcome, found.removed, found.edits) == ("written", [], [])
    assert list(written(registry)) == [ID]


def test_an_emptied_registry_is_an_edit(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    registry.path.write_text("{}")
    assert registry.save(strategies).removed == [ID]


def test_edits_that_do_not_fit_ours_are_taken_whole(tmp_path: Path) -> None:
    """Each side is valid alone: together the longest wait would be shorter than the first."""
    registry, strategies = loaded(tmp_path)
    schema.patch(strategies[ID], {"restart": {"backoff_s": 200}, "grace_s": 9})
    edit(registry, lambda document: document[ID].update(restart={"backoff_max_s": 100}))
    assert registry.save(strategies).outcome == "written"
    restart = strategies[ID].restart
    assert (restart.backoff_s, restart.backoff_max_s) == (5, 100)
    assert Registry(registry.path).load()[ID].restart == restart


def test_values_that_may_be_secret_are_not_told(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    edit(registry, lambda document: document[ID].update(env={"KEY": "hunter2"}, params={"key": "hunter2"}))
    assert not any("hunter2" in str(each) for each in registry.save(strategies).edits)


def test_only_the_ids_named_are_written(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path, '{"a": {"file_path": "a.py"}, "b": {"file_path": "b.py"}}')
    for strategy in strategies.values():
        strategy.grace_s = 9
    registry.save(strategies, only={"a"})
    assert ["grace_s" in entry for entry in written(registry).values()] == [True, False]
    registry.save(strategies, only={"b"})
    assert ["grace_s" in entry for entry in written(registry).values()] == [True, True]


def test_what_changes_in_memory_while_a_write_waits_for_the_disk_is_neither_lost_nor_undone(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    strategy = strategies[ID]
    edit(registry, lambda document: document[ID].update(priority=1))
    steps = registry.saving(strategies)
    write = next(steps)
    schema.patch(strategy, {"grace_s": 9})
    with pytest.raises(StopIteration) as done:
        steps.send(write())
    assert done.value.value.changed == [ID]
    assert (strategy.priority, strategy.grace_s) == (1, 9)
    assert "grace_s" not in written(registry)[ID]
    assert registry.save(strategies, only={ID}).outcome == "written"
    assert written(registry)[ID]["grace_s"] == 9


def test_what_the_next_load_would_refuse_is_not_written(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    before = registry.path.read_bytes()
    strategies[ID].schedule = Schedule(enabled=True)
    found = registry.save(strategies)
    assert found.outcome == "failed"
    assert "strategy_id.schedule_start: is empty, so nothing would ever start" in (found.problem or "")
    assert registry.path.read_bytes() == before
    strategies[ID].schedule = Schedule()
    assert registry.save(strategies, only=()).outcome == "written"


# ---------------------------------------------------------------- property

OURS = {
    "grace_s": st.integers(1, 50),
    "notes": st.sampled_from(["", "ours"]),
    "limits": st.fixed_dictionaries({}, optional={"nofile": st.integers(100, 120), "memory_mb": st.integers(1, 9)}),
    "restart": st.fixed_dictionaries({"policy": st.sampled_from(["never", "on-failure", "always"])}),
    "schedule": st.fixed_dictionaries({"calendar": st.sampled_from([None, "NSE", "BSE"])}),
    "tags": st.lists(st.sampled_from(["x", "y"]), unique=True),
    "env": st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["1", "2"]), max_size=2),
}
THEIRS = {
    "grace_s": st.integers(1, 50),
    "notes": st.sampled_from(["", "theirs"]),
    "limits": st.fixed_dictionaries({}, optional={"nofile": st.integers(100, 120), "cores": st.integers(1, 4)}),
    "auto_restart": st.booleans(),
    "calendar": st.sampled_from([None, "NSE", "MCX"]),
    "schedule_start": st.sampled_from(["09:15", "open", "close-1h"]),
    "schedule_days": st.sampled_from(["mon-fri", ["mon"], ["sun", "sat"]]),
    "env": st.dictionaries(st.sampled_from(["A", "C"]), st.sampled_from(["3", "4"]), max_size=2),
    "broker": st.sampled_from(["zerodha", "ib"]),
    "pid": st.integers(1, 9),
    "manually_stopped": st.booleans(),
}
rounds = st.lists(
    st.tuples(st.fixed_dictionaries({}, optional=OURS), st.none() | st.fixed_dictionaries({}, optional=THEIRS)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(configs, min_size=1, max_size=3))
def test_whatever_is_saved_is_what_the_next_load_reads(tmp_path: Path, versions: list[dict[str, Any]]) -> None:
    registry = registry_at(tmp_path, SEED)
    strategies = registry.load()
    for config in versions:
        report(strategies[ID], **schema.read(Strategy, config))
        assert registry.save(strategies).kept
        assert Registry(registry.path).load()[ID].config() == strategies[ID].config()


#: fields that mirror each other: a person's change of one changes the other with it
MIRRORED = {"auto_restart", "restart.policy", "manually_stopped"}


def leaves(entry: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The values of an entry by dotted path, objects taken apart; without what only we write."""
    found: dict[str, Any] = {}
    for key, value in entry.items():
        if not path and (key in RUNTIME or key == "hold"):
            continue
        if isinstance(value, dict):
            found.update(leaves(value, f"{path}{key}."))
        else:
            found[path + key] = value
    return found


def without_the_person(registry: Registry, folder: Path, ours: dict[str, Any]) -> dict[str, Any]:
    """What the file would say if only we had changed it."""
    shadow = registry_at(folder, registry.path.read_bytes())
    strategies = shadow.load()
    schema.patch(strategies[ID], ours)
    assert shadow.save(strategies).kept
    return leaves(written(shadow)[ID])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds)
def test_no_edit_of_either_hand_is_lost(
    tmp_path: Path, rounds: list[tuple[dict[str, Any], dict[str, Any] | None]]
) -> None:
    """After each save a person's fields stand as written, ours where the person was silent, and memory is the file."""
    registry = registry_at(tmp_path / "live", SEED)
    strategies = registry.load()
    strategy = strategies[ID]
    for ours, theirs in rounds:
        registry.save(strategies)
        before = leaves(written(registry)[ID])
        alone = without_the_person(registry, tmp_path / "shadow", ours)
        schema.patch(strategy, ours)
        if theirs is not None:
            edit(registry, lambda document, theirs=theirs: document[ID].update(theirs))
        hers = leaves(written(registry)[ID])
        found = registry.save(strategies)
        assert found.kept
        after = leaves(written(registry)[ID])

        told = {each.field for each in found.edits}
        for path in before.keys() | alone.keys() | hers.keys() | after.keys():
            was, mine, her, now = (side.get(path, "absent") for side in (before, alone, hers, after))
            if her != was:
                assert now == her, f"the person's {path} is lost"
                assert her == mine or any(path == field or path.startswith(field + ".") for field in told)
            elif path not in MIRRORED:
                assert now == mine, f"our {path} is lost"

        again = Registry(registry.path).load()[ID]
        assert again.config() == strategy.config(), "memory and file say the same"
        assert again.hold.kind == strategy.hold.kind
        assert registry.save(strategies).outcome == "unchanged"
