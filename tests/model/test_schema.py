"""From JSON to the model and back: exact round trips, every error with its path, and a schema that says the same."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratpanel.model import schema
from stratpanel.model.errors import InvalidValue
from stratpanel.model.merge import fresh, merge_patch
from stratpanel.model.strategy import Strategy, Workspace
from stratpanel.model.values import Hold, Schedule, ScheduleWindow
from tests.model.configs import configs

WINDOW = {"start": "09:20", "stop": "15:15", "days": ["mon"], "on_special": False}


def problems(config: object) -> dict[str, str]:
    """What is wrong with a configuration, by path."""
    with pytest.raises(InvalidValue) as caught:
        Strategy.from_config("ema", config)  # type: ignore[arg-type]
    return caught.value.fields


@cache
def config_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration, whole."""
    found = schema.json_schema(Strategy, schema.is_config)
    found["$defs"] = schema.components([Strategy], "#/$defs/")
    return found


def test_the_contract_s_own_example_of_an_error() -> None:
    found = problems({"schedule": {"windows": [{**WINDOW, "start": "25:99"}]}})
    assert found == {"schedule.windows[0].start": '"25:99" is not HH:MM'}


def test_all_errors_are_told_at_once_each_with_its_path() -> None:
    found = problems(
        {
            "grace_s": True,
            "priority": 5.5,
            "args": ["a", 7],
            "limits": {"memory_mb": "1024", "nofile": 1},
            "schedule": {"windows": [WINDOW, {"start": 5, "days": []}], "timezone": "Mars/Base", "oops": 1},
            "env": {"1A": "x"},
            "colour": "red",
            "pid": 4,
            "name": "two\nlines",
        }
    )
    assert set(found) == {
        "grace_s",
        "priority",
        "args",
        "limits.memory_mb",
        "limits.nofile",
        "schedule.windows[1].start",
        "schedule.windows[1].days",
        "schedule.timezone",
        "schedule.oops",
        "env",
        "colour",
        "pid",
        "name",
    }
    assert found["grace_s"] == "true is not a number"
    assert found["colour"] == "is not a field"
    assert found["pid"] == "is reported by the supervisor and cannot be set"
    assert found["limits.nofile"] == "1 is less than 32"
    assert "Asia/Kolkata" in found["schedule.timezone"]


@pytest.mark.parametrize("raw", [float("nan"), float("inf"), 10**400, "5", None, [], True])
def test_a_number_is_a_finite_number_within_its_bounds(raw: object) -> None:
    assert list(problems({"grace_s": raw})) == ["grace_s"]


@pytest.mark.parametrize("raw", [5.0, 5])
def test_a_whole_number_may_be_written_with_a_point(raw: object) -> None:
    assert Strategy.from_config("a", {"priority": raw}).priority == 5


@pytest.mark.parametrize(
    "path",
    ["../x.py", "/etc/passwd", "a/../../b", "a//b", "./a", "a/.", "a/", "a\\b", "a\0b", "..", "x" * 401, "a\nb"],
)
def test_a_file_path_never_leaves_the_scripts(path: str) -> None:
    assert list(problems({"file_path": path})) == ["file_path"]


@pytest.mark.parametrize("path", ["ema.py", "ema/main.py", "my strategy/ü.py", "..a/b..py", ".hidden.py"])
def test_a_file_path_below_the_scripts_is_taken(path: str) -> None:
    assert Strategy.from_config("a", {"file_path": path}).file_path == path


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("09:20", "09:20"),
        ("open", "open"),
        ("close-15m", "close-15m"),
        ("open+1h30m", "open+90m"),
        ("close-2h", "close-120m"),
        ("open-0m", "open"),
        ("open+005m", "open+5m"),
        ("close+1440m", "close+1440m"),
    ],
)
def test_times_are_clock_times_or_distances_to_the_session(raw: str, kept: str) -> None:
    assert schema.read(ScheduleWindow, {"start": raw})["start"] == kept


@pytest.mark.parametrize(
    "raw", ["9:20", "24:00", "09:60", "09:20:00", "open+", "open 5m", "opening", "close-1441m", ""]
)
def test_anything_else_is_no_time(raw: str) -> None:
    with pytest.raises(InvalidValue, match="is not HH:MM"):
        schema.read(ScheduleWindow, {"start": raw})


@pytest.mark.parametrize(
    ("raw", "days"),
    [
        (["mon", "fri"], ["mon", "fri"]),
        (["FRI", "Mon", "fri"], ["mon", "fri"]),
        ("mon-wed", ["mon", "tue", "wed"]),
        (["fri-mon"], ["mon", "fri", "sat", "sun"]),
        ("sat, sun", ["sat", "sun"]),
        (["wed-wed"], ["wed"]),
    ],
)
def test_days_are_normalised(raw: object, days: list[str]) -> None:
    assert schema.read(ScheduleWindow, {"days": raw})["days"] == days


@pytest.mark.parametrize("raw", [[], "", "monday", ["mon", 1], ["mon-"], 5, ["mon-fri-sun"]])
def test_what_is_no_day_is_refused(raw: object) -> None:
    with pytest.raises(InvalidValue):
        schema.read(ScheduleWindow, {"days": raw})


def test_rules_between_fields_have_paths_too() -> None:
    window_missing = problems({"schedule": {"enabled": True}})
    assert list(window_missing) == ["schedule.windows"]
    exceptions = [{"date": "2026-11-24", "kind": "also", "start": "18:00"}, {"date": "2026-11-25", "start": "09:00"}]
    assert set(problems({"schedule": {"exceptions": exceptions}})) == {
        "schedule.exceptions[0].stop",
        "schedule.exceptions[1].start",
    }
    assert list(problems({"restart": {"backoff_s": 400}})) == ["restart.backoff_max_s"]


@pytest.mark.parametrize("raw", ["2024-01-15T09:20:00", "2024-01-15", "yesterday", "2024-02-30T00:00:00Z", 5])
def test_an_instant_without_offset_is_refused(raw: object) -> None:
    with pytest.raises(InvalidValue, match="not a time with offset"):
        schema.read(Hold, {"at": raw})


def test_an_instant_keeps_the_offset_it_was_written_with() -> None:
    hold = Hold(**schema.read(Hold, {"kind": "stopped", "at": "2024-01-15T09:20:00+05:30"}))
    assert schema.to_json(hold)["at"] == "2024-01-15T09:20:00.000+05:30"


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_no_file_or_variable_can_hold_is_refused(text: str) -> None:
    for config in ({"notes": text}, {"args": [text]}, {"env": {"A": text}}, {"params": {"a": [text]}}, {"name": text}):
        assert len(problems(config)) == 1


def test_the_value_of_a_variable_is_never_shown() -> None:
    assert "hunter2" not in json.dumps(problems({"env": {"PASSWORD": "hunter2\0"}}))


def test_our_own_variables_cannot_be_set() -> None:
    assert "set by stratpanel" in problems({"env": {"STRATPANEL_RUN_ID": "x"}})["env"]


def test_parameters_nested_without_end_are_refused() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = [deep]
    assert "nested deeper" in problems({"params": {"a": deep}})["params"]


# ---------------------------------------------------------------- merge patches

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_a_merge_patch_follows_rfc_7396(target: Any, patch: Any) -> None:
    def as_written(target: Any, patch: Any) -> Any:
        """The pseudo-code of RFC 7396, section 2."""
        if not isinstance(patch, dict):
            return patch
        if not isinstance(target, dict):
            target = {}
        for name, value in patch.items():
            if value is None:
                target.pop(name, None)
            else:
                target[name] = as_written(target.get(name), value)
        return target

    before = fresh(target), fresh(patch)
    assert merge_patch(target, patch) == as_written(fresh(target), fresh(patch))
    assert (target, patch) == before, "neither argument is changed"


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_rfc_s_own_examples(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def test_a_patch_changes_what_it_names_and_null_resets() -> None:
    strategy = Strategy.from_config("a", {"limits": {"memory_mb": 99, "nofile": 100}, "env": {"A": "1", "B": "2"}})
    changed = schema.patch(
        strategy, {"limits": {"memory_mb": None}, "env": {"A": None}, "grace_s": 5, "quiet_after": 9}
    )
    assert set(changed) == {"limits", "env", "quiet_after"}, "grace_s was 5 before"
    assert (strategy.limits.memory_mb, strategy.limits.nofile) == (1024, 100)
    assert strategy.env == {"B": "2"}


def test_a_bad_patch_changes_nothing() -> None:
    strategy = Strategy.from_config("a", {})
    before = strategy.config()
    for patch in (
        {"grace_s": 7, "priority": 99},
        {"nope": None},
        {"limits": {"nope": None}},
        {"state": "running"},
        [],
        5,
    ):
        with pytest.raises(InvalidValue):
            schema.patch(strategy, patch)
        assert strategy.config() == before


def test_nothing_is_shared_between_strategies_or_with_the_json() -> None:
    raw: dict[str, Any] = {"args": ["x"], "params": {"a": [1]}, "env": {"A": "1"}}
    one, other = Strategy.from_config("a", raw), Strategy.from_config("b", {})
    raw["params"]["a"].append(2)
    one.config()["params"]["a"].append(3)
    one.args.append("y")
    one.env["B"] = "2"
    assert one.params == {"a": [1]}
    assert (other.args, other.env) == ([], {})
    assert Strategy.from_config("c", {}).args == []


# ---------------------------------------------------------------- round trips


@settings(max_examples=60, deadline=None)
@given(configs)
def test_a_configuration_survives_the_way_through_the_model(config: dict[str, Any]) -> None:
    strategy = Strategy.from_config("ema", config)
    written = strategy.config()
    for name, value in config.items():
        if isinstance(value, dict) and name in ("schedule", "restart"):
            assert {key: written[name][key] for key in value} == value
        else:
            assert written[name] == value
    again = Strategy.from_config("ema", json.loads(json.dumps(written)))
    assert again.config() == written
    assert again.etag() == strategy.etag()
    assert jsonschema.Draft202012Validator(config_schema()).is_valid(written)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*schema.fields(Strategy), "foo"]), json_values, max_size=4))
def test_what_the_schema_refuses_the_model_refuses_and_with_no_other_error(config: dict[str, Any]) -> None:
    """The published schema may be laxer (it cannot know time zones), never stricter, than the model."""
    valid = jsonschema.Draft202012Validator(config_schema()).is_valid(config)
    try:
        Strategy.from_config("ema", config)
    except InvalidValue:
        return
    if not {"schedule"} & set(config):
        assert valid, "the model takes what its schema refuses"


def test_the_schemas_are_json_schema_2020_12() -> None:
    for form in ("whole", "patch", "answer"):
        found = schema.components([Strategy, Workspace], "#/$defs/", form)  # type: ignore[arg-type]
        for each in found.values():
            jsonschema.Draft202012Validator.check_schema(each)
    config = config_schema()
    jsonschema.Draft202012Validator.check_schema(config)
    assert config["properties"]["schedule"]["$ref"] == "#/$defs/Schedule"
    assert config["$defs"]["ScheduleWindow"]["properties"]["start"]["pattern"].startswith("^")
    assert config["properties"]["priority"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 9,
        "description": "order of starts in the same second, 0 first",
        "default": 5,
    }
    assert config["$defs"]["Strategy"]["properties"]["pid"]["readOnly"] is True
    assert "id" not in config["properties"]


def test_a_patch_s_schema_takes_null_at_every_depth() -> None:
    found = schema.json_schema(Strategy, schema.is_config, form="patch")
    found["$defs"] = schema.components([Strategy], "#/$defs/") | schema.components([Strategy], "#/$defs/", "patch")
    check = jsonschema.Draft202012Validator(found)
    assert check.is_valid({"limits": {"memory_mb": None}, "env": {"A": None}, "schedule": None, "grace_s": 3})
    assert not check.is_valid({"limits": {"nofile": "x"}})
    assert not check.is_valid({"schedule": {"windows": [{"start": None}]}})


def test_every_parameter_of_the_model_has_words_for_people() -> None:
    for cls in (Strategy, Workspace, Schedule, ScheduleWindow, Hold):
        for name, parameter in schema.fields(cls).items():
            assert parameter.doc, f"{cls.__name__}.{name} has no doc"
