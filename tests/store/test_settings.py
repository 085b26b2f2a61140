"""Settings: an empty file is right, a wrong one is refused with file, line, field and what to write instead."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from stratpanel.model.errors import InvalidValue
from stratpanel.supervisor.configuration import settings as room
from stratpanel.supervisor.configuration.settings import (
    ALERTS,
    EVENT_TYPES,
    Settings,
    default_text,
    host_timezone,
    load_settings,
)

CHECKOUT = Path(__file__).resolve().parents[2]


def load(folder: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    (folder / "stratpanel.toml").write_text(text)
    return load_settings(folder, environ or {})


def test_nothing_is_needed(tmp_path: Path) -> None:
    missing = load_settings(tmp_path, {})
    assert missing == load(tmp_path, "") == load(tmp_path, default_text())
    assert missing.memory_mb == 1024
    assert missing.on_event.types == ALERTS
    assert missing.dashboard.auth == "token"
    assert missing.zone.key == missing.timezone


def test_every_commented_line_of_the_default_is_a_valid_setting(tmp_path: Path) -> None:
    """The file is documentation: what it shows must work when the # is taken away."""
    lines = [
        line[2:] if line.startswith("# ") and "=" in line and not line[2].isupper() else line
        for line in default_text("Asia/Kolkata").splitlines()
    ]
    text = "\n".join(line for line in lines if not line.startswith("#"))
    assert len(tomllib.loads(text)["dashboard"]) == 7
    loaded = load(tmp_path, text)
    assert loaded.timezone == "Asia/Kolkata"
    assert loaded.on_event.command == ("python3", "strategies/scripts/notify.py")
    assert loaded.roles == {"alice": "admin", "bob": "viewer"}
    assert loaded.panic_then == "strategies/scripts/flatten.py"
    assert loaded.retention == room.Retention(1095, 730, None)


def test_the_default_names_every_type_of_event() -> None:
    for name in EVENT_TYPES:
        assert f" {name}" in default_text()


def test_the_repository_is_a_workspace_with_the_default_text() -> None:
    assert (CHECKOUT / "stratpanel.toml").read_text() == default_text()


@pytest.mark.parametrize(
    ("text", "field", "line", "says"),
    [
        ('timezone = "Asia/Kolkatta"', "timezone", 1, 'did you mean "Asia/Kolkata"?'),
        ('timezone = "Europe"', "timezone", 1, "is not a time zone"),
        ('timezone = "/etc/passwd"', "timezone", 1, "is not a time zone"),
        ("timezone = 5", "timezone", 1, "double quotes"),
        ("\n\n[limits]\nmemory_mb = true", "limits.memory_mb", 4, "a number of MiB from 16"),
        ("[limits]\nmemory_mb = -1", "limits.memory_mb", 2, "-1 is not a number of MiB"),
        ("[limits]\nmemory_mb = nan", "limits.memory_mb", 2, "nan is not"),
        ("[limits]\nnofile = 1.5", "limits.nofile", 2, "whole number of open files"),
        ("[limits]\nmemroy_mb = 5", "limits.memroy_mb", 2, 'did you mean "memory_mb"?'),
        ("limits = 5", "limits", 1, "must be a table, written as [limits]"),
        ("[limit]\nmemory_mb = 5", "limit", 1, 'did you mean "limits"?'),
        ('[on_event]\ncommand = "notify me"', "on_event.command", 2, "must be a list of words"),
        ('[on_event]\ntypes = ["crsh"]', "on_event.types", 2, 'did you mean "crash"?'),
        ("[on_event]\ntypes = [1]", "on_event.types", 2, "list of texts"),
        ('[roles]\nalice = "boss"', "roles.alice", 2, "viewer, operator, admin"),
        ('[roles]\n"anna b." = "amdin"', "roles.anna b.", 2, 'did you mean "admin"?'),
        ('[dashboard]\nauth = "none"\naddress = "0.0.0.0"', "dashboard.auth", 2, "everybody a shell"),
        ('[dashboard]\nauth = "basic"', "dashboard.auth", 2, "users ="),
        ("[dashboard]\nport = 70000", "dashboard.port", 2, "from 0 to 65535"),
        ('[env]\n"A-B" = "x"', "env.A-B", 2, "not a variable name"),
        ('[env]\nSTRATEGY_ID = "x"', "env.STRATEGY_ID", 2, "is set by stratpanel"),
        ("[retention]\nruns_days = -1", "retention.runs_days", 2, "0 keeps for ever"),
        ('text = """\n[limits]\n"""\n[env]\nA = 1', "env.A", 5, "double quotes"),
    ],
)
def test_a_mistake_names_file_line_field_and_remedy(
    tmp_path: Path, text: str, field: str, line: int, says: str
) -> None:
    with pytest.raises(InvalidValue) as error:
        load(tmp_path, text)
    assert error.value.code == "SETTINGS_INVALID"
    assert error.value.fields[field].endswith(f" (line {line})")
    assert says in error.value.fields[field]
    assert f"stratpanel.toml line {line}, {field}: " in error.value.message
    assert says in error.value.message


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue) as error:
        load(tmp_path, 'timezone = "x"\nnonsense = 1\n[limits]\nnofile = "many"\n')
    assert set(error.value.fields) == {"timezone", "nonsense", "limits.nofile"}


@pytest.mark.parametrize("data", [b"a = \n", b"[x", b"a = 1\na = 2\n", b"\xff\xfe", b"a = \x00"])
def test_what_is_no_toml_is_refused_with_its_place(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "stratpanel.toml").write_bytes(data)
    with pytest.raises(InvalidValue) as error:
        load_settings(tmp_path, {})
    assert error.value.code == "TOML_SYNTAX"
    assert "stratpanel.toml" in error.value.message


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "stratpanel.toml").mkdir()
    with pytest.raises(InvalidValue, match="cannot read"):
        load_settings(tmp_path, {})


def test_a_byte_order_mark_is_taken(tmp_path: Path) -> None:
    (tmp_path / "stratpanel.toml").write_bytes(b'\xef\xbb\xbftimezone = "Asia/Tokyo"\n')
    assert load_settings(tmp_path, {}).timezone == "Asia/Tokyo"


def test_the_seeds_memory_variable_sets_the_default_and_the_file_wins(tmp_path: Path) -> None:
    assert load(tmp_path, "", {"STRATEGY_MEMORY_LIMIT_MB": "2048"}).memory_mb == 2048
    assert load(tmp_path, "[limits]\nmemory_mb = 512", {"STRATEGY_MEMORY_LIMIT_MB": "2048"}).memory_mb == 512
    odd = load(tmp_path, "", {"STRATEGY_MEMORY_LIMIT_MB": "lots"})
    assert odd.memory_mb == 1024
    assert "STRATEGY_MEMORY_LIMIT_MB=lots" in odd.warnings[0]


def test_paths_are_seen_from_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert load(tmp_path, 'runtime_dir = "run"').runtime_dir == tmp_path / "run"
    assert load(tmp_path, 'runtime_dir = "~/run"').runtime_dir == Path("/home/me/run")
    warned = load(tmp_path, 'python = ".venv"\n[panic]\nthen = "flatten.py"')
    assert len(warned.warnings) == 2


def test_a_secret_in_the_open_is_warned_of_without_showing_it(tmp_path: Path) -> None:
    (warning,) = load(tmp_path, '[env]\nBROKER_API_KEY = "hunter2"').warnings
    assert "secrets.toml" in warning
    assert "hunter2" not in warning
    with pytest.raises(InvalidValue) as error:
        load(tmp_path, "[env]\nBROKER_PIN = 4711")
    assert "4711" not in error.value.message


def test_all_types_can_be_asked_for(tmp_path: Path) -> None:
    assert load(tmp_path, '[on_event]\ntypes = ["all"]').on_event.types == EVENT_TYPES


def test_the_hosts_zone_is_found_where_systems_keep_it(tmp_path: Path) -> None:
    assert host_timezone(tmp_path) == "UTC"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "localtime").symlink_to("/usr/share/zoneinfo/Asia/Kolkata")
    assert host_timezone(tmp_path) == "Asia/Kolkata"
    (tmp_path / "etc" / "timezone").write_text("Europe/London\n")
    assert host_timezone(tmp_path) == "Europe/London"
    (tmp_path / "etc" / "timezone").write_text("nonsense\n")
    assert host_timezone(tmp_path) == "Asia/Kolkata"
