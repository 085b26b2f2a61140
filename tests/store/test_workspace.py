"""A workspace is made without overwriting, starts with one strategy, and never lies where locks do not hold."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stratpanel.model.errors import Conflict
from stratpanel.supervisor import workspace as room
from stratpanel.supervisor.configuration.secrets import Secrets
from stratpanel.supervisor.configuration.settings import default_text, host_timezone, load_settings
from stratpanel.supervisor.versions.versions import Versions
from stratpanel.supervisor.workspace import check_workspace, database_path, file_system, first_strategy, init

CHECKOUT = Path(__file__).resolve().parents[2]


def test_a_fresh_folder_becomes_a_workspace_as_the_contract_says(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "ws"
    report = init(folder)
    for name in (
        "strategies/scripts",
        "strategies/examples",
        "strategies/versions",
        "strategies/state",
        "log/strategies",
    ):
        assert (folder / name).is_dir()
        assert f"{name}/" in report.created
    assert (folder / "stratpanel.toml").read_text() == default_text(host_timezone())
    assert load_settings(folder, {}).timezone == host_timezone()
    assert stat.S_IMODE((folder / "secrets.toml").stat().st_mode) == 0o600
    assert Secrets(folder / "secrets.toml").for_run("live", "ema") == {}
    names = {path.name for path in (folder / "strategies" / "examples").iterdir()}
    assert {"simple_ema.py", "rsi_reversion.py", "webhook_handler.py"} <= names


def test_git_ignores_what_is_private_or_written_at_run_time(tmp_path: Path) -> None:
    init(tmp_path)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    ignored = [".stratpanel/x", "log/strategies/a.log", "strategies/versions/x", "strategies/state/x", "secrets.toml"]
    kept = ["stratpanel.toml", "strategies/scripts/ema.py", "strategies/examples/simple_ema.py"]
    command = ["git", "-C", str(tmp_path), "check-ignore", *ignored, "strategies/strategy_configs.json", *kept]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    assert told == [*ignored, "strategies/strategy_configs.json"]


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    init(tmp_path)
    (tmp_path / "stratpanel.toml").write_text('timezone = "Asia/Tokyo"\n')
    (tmp_path / "strategies" / "examples" / "simple_ema.py").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert init(tmp_path).created == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_gitignore_that_would_publish_secrets_is_left_and_said(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    report = init(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\n"
    assert "add these lines" in " ".join(report.messages)
    (tmp_path / ".gitignore").write_text("secrets.toml\n")
    assert init(tmp_path).messages == []


def test_an_openalgo_folder_keeps_indian_time(tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    entry = {"ema": {"name": "EMA", "file_path": "strategies/scripts/ema.py", "exchange": "NSE"}}
    (tmp_path / "strategies" / "strategy_configs.json").write_text(json.dumps(entry))
    report = init(tmp_path)
    assert load_settings(tmp_path, {}).timezone == "Asia/Kolkata"
    assert "OpenAlgo" in " ".join(report.messages)
    assert first_strategy(tmp_path) is None
    for broken in ("{", "[]", '{"a": 5}'):
        (tmp_path / "strategies" / "strategy_configs.json").write_text(broken)
        assert not room.is_openalgo(tmp_path)


def test_the_first_strategy_is_the_users_own_copy_and_deploys(tmp_path: Path) -> None:
    init(tmp_path)
    first = first_strategy(tmp_path)
    assert first is not None
    id, path = first
    assert (id, path) == ("simple_ema", tmp_path / "strategies" / "scripts" / "simple_ema.py")
    done = Versions(tmp_path).deploy(id, path, by="stratpanel")
    assert done.version.warnings == ()
    compile(done.version.entry_path.read_text(), "x", "exec")
    assert first_strategy(tmp_path) == first  # until something is registered
    (tmp_path / "strategies" / "strategy_configs.json").write_text("{}")
    assert first_strategy(tmp_path) is None


def test_a_users_own_script_of_that_name_is_left_alone(tmp_path: Path) -> None:
    init(tmp_path)
    (tmp_path / "strategies" / "scripts" / "simple_ema.py").write_text("mine = 1\n")
    assert first_strategy(tmp_path) is None
    assert (tmp_path / "strategies" / "scripts" / "simple_ema.py").read_text() == "mine = 1\n"


def test_examples_are_found_beside_the_package() -> None:
    assert {path.name for path in room.examples()} >= {"simple_ema.py"}


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:40 / /home/me rw - nfs4 server:/home rw
31 30 0:41 / /home/me/local\\040disk rw - ext4 /dev/sdb rw
32 22 0:42 / /mnt/ro ro,relatime - ext4 /dev/sdc ro
33 22 0:43 / /stack rw - ext4 /dev/sdd rw
34 33 0:44 / /stack rw - cifs //server/share rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/me/ws", ("nfs4", False)),
        ("/home/me/local disk/ws", ("ext4", False)),
        ("/home/meadow", ("ext4", False)),
        ("/mnt/ro/x", ("ext4", True)),
        ("/stack/x", ("cifs", False)),
    ],
)
def test_the_file_system_is_the_innermost_and_topmost_mount(
    tmp_path: Path, path: str, expected: tuple[str, bool]
) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert file_system(Path(path), tmp_path / "mountinfo") == expected
    assert file_system(Path(path), tmp_path / "missing") == ("", False)


def test_a_network_file_system_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = tmp_path / "local"
    monkeypatch.setattr(room, "file_system", lambda at: ("ext4" if at.is_relative_to(local) else "nfs4", False))
    workspace = tmp_path / "ws"
    with pytest.raises(Conflict) as error:
        init(workspace)
    assert error.value.code == "NETWORK_FILESYSTEM"
    assert "runtime_dir = " in error.value.message
    assert "nfs4" in error.value.message
    local.mkdir()
    check_workspace(workspace, local)
    assert database_path(workspace, local) == local / "stratpanel.db"
    assert database_path(workspace) == workspace / "log" / "stratpanel.db"
    (workspace / "stratpanel.toml").write_text(f'runtime_dir = "{local}"\n')
    assert "strategies/scripts/" in init(workspace).created  # the remedy in the message works


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Conflict) as error:
        check_workspace(tmp_path)
    assert error.value.code == "READ_ONLY"


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("")
    with pytest.raises(Conflict) as error:
        init(tmp_path / "ws")
    assert error.value.code == "READ_ONLY"
    assert "choose a folder" in error.value.message


def test_a_really_read_only_mount_is_refused_with_its_reason(tmp_path: Path) -> None:
    """In a mount namespace of its own, where this machine allows one."""
    check = (
        "import pathlib, sys; from stratpanel.supervisor.workspace import check_workspace; "
        "check_workspace(pathlib.Path(sys.argv[1]))"
    )
    program = 'mount -t tmpfs -o ro none "$1" && exec "$2" -c "$3" "$1"'
    allowed = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    if not allowed:
        pytest.skip("this machine allows no mount namespaces")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", program, "sh", str(tmp_path), sys.executable, check],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    assert "mounted read-only" in done.stderr
