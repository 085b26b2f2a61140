"""The classes every process shares: reported values move only through `report()`, and values are equal by content."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from stratpanel.model.states import State
from stratpanel.model.strategy import Strategy, Workspace, report
from stratpanel.model.values import Hold, Limits, Schedule, ScheduleWindow, memory_limit_default


def test_what_is_reported_cannot_be_set_by_hand() -> None:
    strategy = Strategy(id="ema")
    for name, value in {"state": State.RUNNING, "pid": 5, "hold": Hold(kind="stopped"), "id": "rsi"}.items():
        with pytest.raises(TypeError, match="Constant"):
            setattr(strategy, name, value)
    strategy.grace_s = 7
    assert strategy.grace_s == 7


def test_a_report_is_one_batch_and_leaves_the_values_constant() -> None:
    strategy, other = Strategy(id="ema"), Strategy(id="rsi")
    seen: list[set[str]] = []
    strategy.param.watch(lambda *events: seen.append({event.name for event in events}), ["state", "pid", "why"])
    report(strategy, state=State.RUNNING, pid=5, why="started")
    assert seen == [{"state", "pid", "why"}]
    assert (strategy.state, strategy.pid, other.pid) == (State.RUNNING, 5, None)
    report(strategy, state=State.RUNNING, pid=5)
    assert len(seen) == 1, "what did not change is not told"
    for subject in (strategy, other):
        with pytest.raises(TypeError, match="Constant"):
            subject.pid = 6


def test_a_report_reaches_a_strategy_whose_parameters_were_looked_at() -> None:
    """Param copies a parameter to the instance when a view touches it; that copy has a `constant` of its own."""
    strategy = Strategy(id="ema")
    assert strategy.param["pid"].constant
    report(strategy, pid=5)
    assert strategy.pid == 5
    assert strategy.param["pid"].constant
    with pytest.raises(TypeError, match="Constant"):
        strategy.pid = 6


def test_what_a_watcher_reads_during_a_report_is_the_configuration_and_nothing_else() -> None:
    strategy = Strategy(id="ema")
    seen: list[set[str]] = []
    strategy.param.watch(lambda _: seen.append(set(strategy.config())), ["pid"])
    report(strategy, pid=5)
    assert seen == [set(Strategy(id="rsi").config())]
    assert "pid" not in seen[0]


def test_a_watcher_that_raises_keeps_nobody_from_the_facts(caplog: pytest.LogCaptureFixture) -> None:
    strategy = Strategy(id="ema")

    def fail(event: object) -> None:
        raise RuntimeError("a view broke")

    watcher = strategy.param.watch(fail, ["state"])
    with caplog.at_level(logging.ERROR):
        report(strategy, state=State.RUNNING, pid=5)
    assert (strategy.state, strategy.pid) == (State.RUNNING, 5)
    assert "a view broke" in caplog.text
    strategy.param.unwatch(watcher)
    seen: list[object] = []
    strategy.param.watch(seen.append, ["state"])
    report(strategy, state=State.STOPPED)
    assert len(seen) == 1, "the object still tells"


def test_a_report_of_nonsense_changes_nothing() -> None:
    strategy = Strategy(id="ema")
    with pytest.raises(ValueError, match="pid"):
        report(strategy, state=State.RUNNING, pid="five")
    assert (strategy.state, strategy.pid) == (State.STOPPED, None)
    with pytest.raises(TypeError, match="Constant"):
        strategy.pid = 6


def test_values_are_equal_by_content() -> None:
    assert Schedule(windows=[ScheduleWindow(start="open")]) == Schedule(windows=[ScheduleWindow(start="open")])
    assert Schedule(windows=[ScheduleWindow(start="open")]) != Schedule(windows=[ScheduleWindow()])
    assert Limits() != Schedule()
    assert hash(Limits()) == hash(Limits(nofile=99))
    assert not Hold()
    assert Hold(kind="started")


def test_a_name_is_the_id_until_one_is_given() -> None:
    assert Strategy(id="ema").name == "ema"
    assert Strategy.from_config("ema", {"name": ""}).name == "ema"
    assert Strategy.from_config("ema", {"name": "EMA Crossover"}).name == "EMA Crossover"


def test_equal_configurations_have_equal_etags_whatever_runs() -> None:
    one, other = Strategy.from_config("a", {"grace_s": 7}), Strategy.from_config("a", {"grace_s": 7})
    report(one, state=State.RUNNING, pid=5)
    assert one.etag() == other.etag()
    assert one.etag().startswith('"')
    other.grace_s = 8
    assert one.etag() != other.etag()


@pytest.mark.parametrize(
    ("name", "value"),
    [("args", ["a\0"]), ("env", {"STRATPANEL_X": "1"}), ("params", {"a": float("nan")}), ("before_start", "a/b")],
)
def test_python_is_bound_by_the_same_rules_as_json(name: str, value: object) -> None:
    strategy = Strategy(id="ema")
    with pytest.raises(ValueError):
        setattr(strategy, name, value)
    assert getattr(strategy, name) != value


def test_naive_datetimes_are_refused_in_python_too() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Hold(at=datetime(2026, 1, 1))  # noqa: DTZ001
    assert Hold(at=datetime(2026, 1, 1, tzinfo=UTC)).at is not None


def test_what_a_cell_shows_says_the_state() -> None:
    strategy = Strategy(id="ema")
    report(strategy, state=State.FATAL, why="script missing")
    assert repr(strategy) == "Strategy('ema', fatal: script missing)"
    assert repr(ScheduleWindow(start="open")) == "ScheduleWindow(start='open')"
    assert repr(Workspace()) == "Workspace()"


@pytest.mark.parametrize(
    ("raw", "limit"), [("", 1024), ("2048", 2048), (" 512.5 ", 512.5), ("much", 1024), ("-1", 1024), ("nan", 1024)]
)
def test_the_seed_s_variable_sets_the_default_memory_limit(raw: str, limit: float) -> None:
    found, problem = memory_limit_default({"STRATEGY_MEMORY_LIMIT_MB": raw})
    assert found == limit
    assert (problem is None) == (raw.strip() == "" or limit != 1024)
    if problem:
        assert raw in problem


def test_the_model_imports_param_and_the_standard_library_only() -> None:
    """Every process pays for this import: the command line, each kernel, the page."""
    code = """
import sys
import stratpanel.model.strategy, stratpanel.model.schema
outside = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(sorted(name for name in outside if not name.startswith(('_', 'stratpanel', 'sitecustom'))))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "['param']"
