"""Loading the registry: the seed's schema, OpenAlgo's folder, and clear refusals that leave the file untouched."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stratpanel.model import schema
from stratpanel.model.strategy import Strategy
from stratpanel.supervisor.registry import registry as registry_module
from stratpanel.supervisor.registry.registry import Registry, RegistryError
from stratpanel.supervisor.registry.text import line_of
from tests.model.registries import SEED, loaded, registry_at, written

OPENALGO = """{
  "ema_20250101093000": {
    "name": "EMA", "file_path": "strategies/scripts/ema_20250101093000.py", "file_name": "ema.py",
    "exchange": "NFO", "is_running": true, "is_scheduled": true, "created_at": "2025-01-01T09:30:00+05:30",
    "user_id": "admin", "schedule_start": "09:15", "schedule_stop": "15:30",
    "schedule_days": ["mon", "tue", "wed", "thu", "fri"], "pid": 4711, "last_started": "2025-01-02T09:15:00+05:30",
    "is_error": true, "error_message": "waiting for contracts", "paused_reason": "holiday", "manually_stopped": false
  },
  "btc": {
    "name": "BTC", "file_path": "strategies\\\\scripts\\\\btc.py", "exchange": "crypto", "is_running": false,
    "is_scheduled": true, "schedule_start": "00:00", "schedule_stop": "00:00",
    "schedule_days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "manually_stopped": true, "user_id": null
  }
}"""


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh broken file is read again for 0.1 s; these tests write hundreds."""
    monkeypatch.setattr(registry_module, "_HALF_WRITTEN_PAUSE_S", 0.0)


def refusal(folder: Path, text: str | bytes) -> RegistryError:
    """The error that loading `text` gives; checks that the file stays byte for byte as it was, whatever is saved."""
    registry = registry_at(folder, text)
    before = registry.path.read_bytes()
    with pytest.raises(RegistryError) as caught:
        registry.load()
    assert registry.problem is not None
    assert caught.value.message in registry.problem
    assert caught.value.status == 409
    report = registry.save({"new": Strategy.from_config("new", {"file_path": "new.py"})})
    assert report.outcome == "suspended"
    assert registry.path.read_bytes() == before
    assert os.listdir(registry.path.parent) == [registry.path.name], "no temporary file stays behind"
    return caught.value


def test_the_seed_s_own_example_loads(tmp_path: Path) -> None:
    registry = registry_at(tmp_path, SEED)
    strategy = registry.load()["strategy_id"]
    assert not registry.foreign
    assert registry.problem is None
    assert (strategy.name, strategy.file_path, strategy.user_id) == ("EMA Crossover", "ema_crossover.py", "user123")
    assert strategy.schedule.enabled
    window = strategy.schedule.windows[0]
    assert (window.start, window.stop, window.days) == ("09:20", "15:15", ["mon", "tue", "wed", "thu", "fri"])
    assert strategy.restart.policy == "never"
    assert strategy.hold.kind == "none"


def test_loading_does_not_touch_the_file_and_saving_changes_nothing_that_did_not_change(tmp_path: Path) -> None:
    registry = registry_at(tmp_path, SEED)
    registry.save(registry.load())
    assert json.loads(SEED) == written(registry)


@pytest.mark.parametrize(("flag", "policy"), [(True, "on-failure"), (False, "never")])
def test_auto_restart_is_the_policy(tmp_path: Path, flag: bool, policy: str) -> None:
    text = SEED.replace('"auto_restart": false', f'"auto_restart": {str(flag).lower()}')
    assert registry_at(tmp_path, text).load()["strategy_id"].restart.policy == policy


def test_runtime_fields_are_never_believed(tmp_path: Path) -> None:
    text = SEED.replace('"is_running": false', '"is_running": true').replace('"pid": null', '"pid": 4711')
    text = text.replace('"restart_count": 0', '"restart_count": "many"')
    registry = registry_at(tmp_path, text)
    strategy = registry.load()["strategy_id"]
    assert (strategy.state, strategy.pid, strategy.restarts) == ("stopped", None, 0)
    assert registry.claimed_pids() == {"strategy_id": 4711}
    registry.save({"strategy_id": strategy})
    entry = written(registry)["strategy_id"]
    assert (entry["is_running"], entry["pid"], entry["restart_count"]) == (False, None, 0)
    assert entry["last_started"] == "2024-01-15T09:20:00", "what we do not know better is kept"


@pytest.mark.parametrize("text", ["{}", " {\n} \n", None])
def test_no_strategies_is_an_empty_registry(tmp_path: Path, text: str | None) -> None:
    registry = registry_at(tmp_path, text)
    assert registry.load() == {}
    assert registry.problem is None
    assert registry.save({}).kept


def test_a_minimal_entry_gets_the_defaults(tmp_path: Path) -> None:
    strategy = registry_at(tmp_path, '{"ema": {"file_path": "ema.py"}}').load()["ema"]
    assert strategy.config() == Strategy.from_config("ema", {"file_path": "ema.py"}).config()
    assert strategy.name == "ema"


def test_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    registry = registry_at(tmp_path, b"\xef\xbb\xbf" + SEED.replace("\n", "\r\n").encode())
    assert list(registry.load()) == ["strategy_id"]


# ---------------------------------------------------------------- OpenAlgo


def test_openalgo_s_folder_loads_as_it_is(tmp_path: Path) -> None:
    registry = registry_at(tmp_path, OPENALGO)
    strategies = registry.load()
    assert registry.foreign, "so that nothing starts by itself"
    ema, btc = strategies["ema_20250101093000"], strategies["btc"]
    assert (ema.file_path, btc.file_path) == ("ema_20250101093000.py", "btc.py")
    assert (ema.schedule.calendar, ema.schedule.timezone) == ("NFO", "Asia/Kolkata")
    assert (btc.schedule.calendar, btc.schedule.timezone) == ("24x7", "Asia/Kolkata")
    assert (ema.hold.kind, btc.hold.kind) == ("none", "stopped")
    assert registry.claimed_pids() == {"ema_20250101093000": 4711}


def test_openalgo_s_own_fields_survive_and_the_file_is_ours_after_the_first_write(tmp_path: Path) -> None:
    registry = registry_at(tmp_path, OPENALGO)
    assert registry.save(registry.load()).outcome == "written"
    before, after = json.loads(OPENALGO), written(registry)
    for id, entry in before.items():
        kept = {name: value for name, value in entry.items() if name not in ("is_running", "pid")}
        assert {name: after[id][name] for name in kept} == kept, "a person may go back to OpenAlgo"
        assert after[id]["timezone"] == "Asia/Kolkata"
        assert "calendar" not in after[id], "exchange says it"
    again = Registry(registry.path)
    again.load()
    assert not again.foreign


def test_what_is_set_over_openalgo_s_fields_stays_set(tmp_path: Path) -> None:
    registry = registry_at(tmp_path, OPENALGO)
    strategies = registry.load()
    schema.patch(strategies["btc"], {"schedule": {"calendar": None, "timezone": None}})
    schema.patch(strategies["ema_20250101093000"], {"schedule": {"calendar": "NSE"}})
    registry.save(strategies)
    again = Registry(registry.path).load()
    assert (again["btc"].schedule.calendar, again["btc"].schedule.timezone) == (None, None)
    assert again["ema_20250101093000"].schedule.calendar == "NSE"


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ('{"a": {"name": "x"', "line 1 column 19: expecting ',' delimiter"),
        ('{"a": {},}', "line 1"),
        ("[]", "is not an object of strategies by id"),
        ('{"a": 5}', "line 1, a: is not an object"),
        ('{\n"a": {},\n"A": {}\n}', "line 3, A: differs from a only in case"),
        ('{\n"a": {},\n"a": {}\n}', "line 3: a is given twice"),
        ('{"a": {"env": {"X": "1",\n"X": "2"}}}', "line 2: a.env.X is given twice"),
        ('{"a": {"limits":\n{"memory_mb": NaN}}}', "line 2: NaN is not a number"),
        ('{"a": {"limits":\n{"memory_mb": 1e999}}}', "line 2: 1e999 is not a number"),
        ('{"a": {"grace_s":\n' + "9" * 5000 + "}}", "line 2: 9999"),
        ('{\n"a/b": {}}', 'line 2, a/b: "a/b" is not an id'),
        (
            '{"a": {\n\n"schedule_start": "25:99",\n"schedule_stop": "15:15"}}',
            'line 3, a.schedule_start: "25:99" is not',
        ),
        ('{"a": {"schedule_more": [\n{"start": "09:00"},\n{"stop": "x"}]}}', "line 3, a.schedule_more[1].stop:"),
        ('{"a": {"schedule_start": "09:00"}}', "a.schedule_stop: is missing"),
        ('{"a": {\n"is_scheduled": true}}', "nothing would ever start"),
        ('{"a": {"is_scheduled": 1}}', "a.is_scheduled: 1 is not true or false"),
        ('{"a": {"manually_stopped": "no"}}', "a.manually_stopped: is not true or false"),
        ('{"a": {"auto_restart": "yes"}}', "a.auto_restart:"),
        ('{"a": {"timezone": "IST"}}', "a.timezone:"),
        ('{"a": {"exchange": 5}}', "a.exchange:"),
        ('{"a": {"file_path": "../../etc/passwd"}}', "a.file_path:"),
        ('{"a": {"limits": {\n"nofile": true}}}', "line 2, a.limits.nofile: true is not a whole number"),
        ('{"a": {"hold": {"kind": "asleep"}}}', 'a.hold.kind: "asleep" is not one of'),
        ('{"a": {"schedule_exceptions": [{"date": "24.11.2026"}]}}', "a.schedule_exceptions[0].date:"),
        ('{"a": {"notes": "\\ud800"}}', "a.notes: contains half of a surrogate pair"),
        pytest.param('{"a":' * 50_000, "nested too deep", id="nested without end"),
        pytest.param('{"a":' * 500 + "1" + "}" * 500, "nested too deep", id="nested deep"),
        (b'{"a": {\n"name": "\xff"}}', "line 2: is not UTF-8"),
        (b"\x00\x01\x02", "line 1"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_field_and_the_file_stays(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    error = refusal(tmp_path, text)
    assert error.message.startswith("strategies/strategy_configs.json")
    assert said in error.message


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    error = refusal(tmp_path, '{"a": {"grace_s": -1,\n"mode": "dry"},\n"b": 5}')
    assert "(and 2 more)" in error.message
    assert {path: text.partition(":")[0] for path, text in error.fields.items()} == {
        "a.grace_s": "line 1",
        "a.mode": "line 2",
        "b": "line 3",
    }


def test_a_file_too_large_to_be_a_registry_is_not_read(tmp_path: Path) -> None:
    registry = registry_at(tmp_path, "{}")
    with registry.path.open("r+b") as file:
        file.truncate(40 * 1024 * 1024)
    with pytest.raises(RegistryError, match="is it the right file"):
        registry.load()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_file_is_refused_without_hanging(tmp_path: Path, make: Any) -> None:
    registry = registry_at(tmp_path)
    make(registry.path)
    with pytest.raises(RegistryError, match=r"is not a file|is a directory"):
        registry.load()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(SEED) - 3))
def test_a_truncated_file_is_refused_wherever_it_is_cut(tmp_path: Path, cut: int) -> None:
    refusal(tmp_path, SEED[:cut])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(SEED) - 1), byte=st.integers(0, 255))
def test_a_damaged_byte_gives_a_registry_or_a_clear_error_and_never_another_exception(
    tmp_path: Path, at: int, byte: int
) -> None:
    data = bytearray(SEED.encode())
    data[at] = byte
    registry = registry_at(tmp_path, bytes(data))
    try:
        registry.load()
    except RegistryError:
        assert registry.path.read_bytes() == bytes(data)


def test_lines_are_those_an_editor_shows() -> None:
    text = '{\n  "a": {"x": [1,\n 2, {"y":\n 3}]},\n\n "b \\" c": {}}'
    assert line_of(text, ("a",)) == 2
    assert line_of(text, ("a", "x", 0)) == 2
    assert line_of(text, ("a", "x", 1)) == 3
    assert line_of(text, ("a", "x", 2, "y")) == 3
    assert line_of(text, ("a", "x", 2, "missing")) == 3
    assert line_of(text, ('b " c',)) == 6
    assert line_of(text, ("nowhere",)) == 1


def test_a_file_that_is_half_written_when_we_look_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Editors that write in place leave half a file for a moment."""
    registry, strategies = loaded(tmp_path)
    whole = registry.path.read_text().replace("09:20", "09:25")
    registry.path.write_text(whole[:100])
    monkeypatch.setattr("stratpanel.supervisor.registry.registry.time.sleep", lambda _: registry.path.write_text(whole))
    assert registry.save(strategies).kept
    assert strategies["strategy_id"].schedule.windows[0].start == "09:25"


def test_a_broken_file_can_be_mended_and_reloaded(tmp_path: Path) -> None:
    registry, strategies = loaded(tmp_path)
    good = registry.path.read_text()
    registry.path.write_text(good.replace("09:20", "9.20"))
    assert registry.changed_on_disk()
    assert registry.save(strategies).outcome == "suspended"
    assert "line" in (registry.problem or "")
    with pytest.raises(RegistryError, match="schedule_start"):
        registry.reload(strategies)
    strategies["strategy_id"].grace_s = 9
    registry.path.write_text(good.replace("09:20", "09:30"))
    assert registry.save(strategies).outcome == "suspended", "only a person's reload ends it"
    report = registry.reload(strategies)
    assert report.changed == ["strategy_id"]
    assert registry.problem is None
    assert strategies["strategy_id"].schedule.windows[0].start == "09:30"
    assert written(registry)["strategy_id"]["grace_s"] == 9, "what memory changed meanwhile is written now"


def test_a_first_load_that_failed_can_be_repeated(tmp_path: Path) -> None:
    registry = registry_at(tmp_path, "{")
    with pytest.raises(RegistryError):
        registry.load()
    registry.path.write_text(SEED)
    assert list(registry.load()) == ["strategy_id"]
    assert registry.problem is None
