"""service: a unit that leaves strategies running when it stops, or a cron line; nothing that `print` does not show."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stratpanel import service
from stratpanel.model.errors import Conflict


@pytest.fixture
def fake_bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with our own systemctl, loginctl and crontab, which write down what they were asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("systemctl", "loginctl"):
        script = f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/asked\ncat {tmp_path}/answer 2>/dev/null\nexit 0\n'
        (folder / name).write_text(script)
    (folder / "crontab").write_text(
        f'#!/bin/sh\ncd {tmp_path}\nif [ "$1" = -l ]; then cat table 2>/dev/null || exit 1; else cat > table; fi\n'
    )
    for path in folder.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("USER", "anna")
    return folder


def unit_of(workspace: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(service.unit_text(workspace, "/usr/bin/python3"))
    return parser


def test_the_unit_spares_the_strategies_and_comes_back(tmp_path: Path) -> None:
    unit = unit_of(tmp_path / "ws")["Service"]
    assert unit["KillMode"] == "process"
    assert unit["Restart"] == "on-failure"
    assert unit["KillSignal"] == "SIGHUP"  # SIGTERM would stop the strategies
    assert shlex.split(unit["ExecStart"]) == [
        "/usr/bin/python3",
        "-m",
        "stratpanel",
        "-w",
        str(tmp_path / "ws"),
        "up",
        "--foreground",
    ]
    assert unit_of(tmp_path)["Install"]["WantedBy"] == "default.target"


def test_odd_paths_are_quoted_as_systemd_and_cron_read_them() -> None:
    odd = Path('/home/a b/100% "sure" $HOME')
    text = service.unit_text(odd, "/usr/bin/python3")
    assert r'-w "/home/a b/100%% \"sure\" $$HOME" up' in text
    line = service.cron_line(odd, "/usr/bin/python3")
    assert line.startswith("@reboot ")
    command = line.removeprefix("@reboot ").replace(r"\%", "%")
    assert shlex.split(command)[4] == str(odd)
    assert "\n" not in line


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_itself_takes_the_unit(tmp_path: Path) -> None:
    def verified(name: str, text: str) -> bool:
        path = tmp_path / name
        path.write_text(text)
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
        command = ["systemd-analyze", "verify", "--user", str(path)]
        return subprocess.run(command, capture_output=True, env=environment, check=False).returncode == 0

    if not verified("good.service", "[Service]\nExecStart=/bin/true\n"):
        pytest.skip("systemd-analyze verifies nothing here")
    text = service.unit_text(Path("/home/a b/100% $HOME"))
    assert verified("stratpanel-test.service", text)
    assert not verified("stratpanel-bad.service", text.replace('ExecStart="', 'ExecStart="/nowhere'))


def test_each_workspace_has_a_unit_of_its_own(tmp_path: Path) -> None:
    names = {service.unit_name(tmp_path / name) for name in ("a/ws", "b/ws", "c/m y")}
    assert len(names) == 3
    assert all(" " not in name and name.endswith(".service") for name in names)


def test_printing_shows_the_unit_also_where_cron_would_do(
    tmp_path: Path, fake_bin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for systemd, told in ((True, "systemctl --user enable"), (False, "@reboot")):
        monkeypatch.setattr(service, "has_systemd", lambda answer=systemd: answer)
        service.print_service(tmp_path)
        printed = capsys.readouterr()
        assert printed.out == service.unit_text(tmp_path)
        assert told in printed.err


def test_installing_with_systemd(tmp_path: Path, fake_bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "has_systemd", lambda: True)
    assert not service.installed(tmp_path)
    assert service.install(tmp_path) == 0
    name = service.unit_name(tmp_path)
    assert (tmp_path / "config" / "systemd" / "user" / name).read_text() == service.unit_text(tmp_path)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["systemctl --user daemon-reload", f"systemctl --user enable {name}", "loginctl enable-linger anna"]
    assert service.installed(tmp_path)
    (fake_bin / "systemctl").write_text("#!/bin/sh\necho no bus >&2\nexit 1\n")
    with pytest.raises(Conflict, match="no bus"):
        service.install(tmp_path)


def test_installing_with_cron_keeps_the_table_and_adds_once(
    tmp_path: Path, fake_bin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "has_systemd", lambda: False)
    (tmp_path / "table").write_text("0 5 * * * backup")
    assert not service.installed(tmp_path)
    assert service.install(tmp_path) == 0
    assert service.install(tmp_path) == 0
    assert (tmp_path / "table").read_text() == f"0 5 * * * backup\n{service.cron_line(tmp_path)}\n"
    assert service.installed(tmp_path)
    assert not service.installed(tmp_path / "other")


def test_without_systemd_and_cron_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "has_systemd", lambda: False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Conflict, match="up --foreground"):
        service.install(tmp_path)


@pytest.mark.parametrize(("state", "keeps"), [("running", True), ("degraded", True), ("", True), ("stopping", False)])
def test_strategies_end_with_the_machine_and_not_with_the_unit(
    tmp_path: Path, fake_bin: Path, state: str, keeps: bool
) -> None:
    (tmp_path / "answer").write_text(state)
    command = service.leave(tmp_path)
    assert command[:6] == [sys.executable, "-m", "stratpanel", "-w", str(tmp_path), "down"]
    assert ("--keep" in command) is keeps
