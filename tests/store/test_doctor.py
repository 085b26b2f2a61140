"""doctor: each thing that would end a trading day is found on a machine made for it, with the command that mends it."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stratpanel import doctor, scaling
from stratpanel.doctor import house, killers, limits, report, software
from stratpanel.doctor.finding import Finding, Level
from stratpanel.doctor.machine import Machine
from stratpanel.supervisor.workspace import init

GIB = 1 << 30


class Box:
    """A machine built from files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ: dict[str, str] = {"USER": "anna", "HOME": "/home/anna"}
        self.commands: dict[str, str | None] = {}
        self.clock: bool | None = True
        self.file("/proc/meminfo", f"MemTotal: {16 * GIB // 1024} kB\n")
        self.file("/proc/1/comm", "systemd\n")
        self.file("/proc/self/cgroup", "0::/\n")
        self.file("/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")

    def file(self, name: str, text: str = "") -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @property
    def machine(self) -> Machine:
        return Machine(self.root, self.environ, self.commands, self.clock)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "root")


def one(found: list[Finding], level: Level) -> Finding:
    (finding,) = [finding for finding in found if finding.level is level]
    return finding


def levels(found: list[Finding]) -> set[Level]:
    return {finding.level for finding in found}


@pytest.mark.parametrize(
    ("memory_gib", "cpus", "threads", "each", "most"),
    [
        (2, 1, 1, 256, 5),
        (2, 8, 1, 256, 5),
        (4, 4, 2, 512, 5),
        (6, 4, 2, 512, 7),
        (8, 4, 2, 1024, 10),
        (16, 8, 4, 1024, 20),
        (8, 1, 1, 1024, 10),
    ],
)
def test_the_seeds_table_applied(memory_gib: int, cpus: int, threads: int, each: int, most: int) -> None:
    assert scaling.advice(memory_gib * 1024, cpus) == scaling.Advice(threads, each, most)
    assert set(scaling.thread_caps(memory_gib * 1024, cpus).values()) == {str(threads)}


@pytest.mark.parametrize("memory", [200, 1000, 1536, 3583, 3584, 7167, 7168, 16_384, 262_144])
def test_more_memory_never_carries_less(memory: int) -> None:
    less, more = scaling.advice(memory, 4), scaling.advice(memory + 1, 4)
    assert less.threads <= more.threads
    assert less.memory_mb <= more.memory_mb
    assert less.max_strategies <= more.max_strategies
    assert less.max_strategies >= 1


def test_a_containers_limits_count_before_the_hardware(box: Box) -> None:
    box.file("/proc/self/cgroup", "0::/kubepods/pod7\n")
    box.file("/sys/fs/cgroup/kubepods/memory.max", str(2 * GIB))
    box.file("/sys/fs/cgroup/kubepods/pod7/memory.max", "max")
    box.file("/sys/fs/cgroup/kubepods/pod7/cpu.max", "50000 100000")
    assert scaling.machine_memory_mb(box.root) == 2048
    assert scaling.container_cpus(box.root) == 0.5
    assert "2.0 GiB in this container" in limits.memory(box.machine)[0].says
    assert "docker update --cpus" in str(one(limits.processors(box.machine), Level.WARNING).mend)
    box.file("/sys/fs/cgroup/kubepods/pod7/memory.max", str(GIB // 2))
    assert "docker run --memory" in str(one(limits.memory(box.machine), Level.WARNING).mend)


def test_the_first_generation_of_cgroups_is_read_too(box: Box) -> None:
    box.file("/proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n")
    box.file("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", str(4 * GIB))
    box.file("/sys/fs/cgroup/memory/memory.limit_in_bytes", str((1 << 63) - 4096))  # how it writes "no limit"
    box.file("/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "200000")
    box.file("/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000")
    assert scaling.container_memory_mb(box.root) == 4096
    assert scaling.container_cpus(box.root) == 2
    box.file("/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "-1")
    assert scaling.container_cpus(box.root) is None


def test_limits_of_the_kernel_are_named_with_their_command(box: Box) -> None:
    box.file("/sys/fs/cgroup/pids.max", "100")
    box.file("/sys/fs/cgroup/memory.events", "low 0\noom 3\noom_kill 3\n")
    box.file("/proc/sys/fs/pipe-user-pages-soft", "64")
    box.file("/proc/sys/kernel/pid_max", "4096")
    box.file("/proc/sys/vm/overcommit_memory", "2")
    assert "--pids-limit" in str(one(limits.control_group(box.machine), Level.WARNING).mend)
    assert "has killed 3 processes" in one(limits.killed_for_memory(box.machine), Level.WARNING).says
    mends = " ".join(str(finding.mend) for finding in limits.kernel_numbers(box.machine))
    for name in ("fs.pipe-user-pages-soft", "kernel.pid_max", "vm.overcommit_memory"):
        assert f"sudo sysctl -w {name}=" in mends


def test_logging_out_that_kills_is_an_error(box: Box) -> None:
    assert Level.ERROR not in levels(killers.logout(box.machine))
    box.file("/etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=yes\nKillUserProcesses=no\n")
    assert Level.ERROR not in levels(killers.logout(box.machine))
    box.file("/etc/systemd/logind.conf.d/50-kill.conf", "[Login]\nKillUserProcesses=yes\n")
    assert "loginctl enable-linger anna" in str(one(killers.logout(box.machine), Level.ERROR).mend)


@pytest.mark.parametrize(
    ("mode", "level"), [("control-group", Level.ERROR), ("mixed", Level.ERROR), ("process", Level.GOOD)]
)
def test_a_unit_that_kills_its_whole_group_is_an_error(box: Box, mode: str, level: Level) -> None:
    box.file("/proc/self/cgroup", "0::/system.slice/trading.service\n")
    box.commands["systemctl show -p KillMode --value trading.service"] = mode
    assert level in levels(killers.service_unit(box.machine))
    box.file("/proc/self/cgroup", "0::/user.slice/user-7.slice/user@7.service/app.slice/mine.service\n")
    box.commands["systemctl --user show -p KillMode --value mine.service"] = mode
    assert level in levels(killers.service_unit(box.machine))


def test_idle_cullers_of_jupyter(box: Box) -> None:
    box.file("/home/anna/.jupyter/jupyter_server_config.py", "# c.ServerApp.shutdown_no_activity_timeout = 5\n")
    assert killers.jupyter(box.machine) == []
    box.file("/home/anna/.jupyter/jupyter_server_config.py", "c.ServerApp.shutdown_no_activity_timeout = 3600\n")
    assert levels(killers.jupyter(box.machine)) == {Level.NOTE}
    box.file("/proc/1/cmdline", "/opt/conda/bin/python\0/opt/conda/bin/jupyter-lab\0")
    assert "set shutdown_no_activity_timeout to 0" in str(one(killers.jupyter(box.machine), Level.ERROR).mend)
    box.environ["JUPYTERHUB_USER"] = "anna"
    assert "idle-culler" in str(one(killers.jupyter(box.machine), Level.WARNING).mend)
    box.file("/etc/jupyter/jupyter_server_config.json", '{"MappingKernelManager": {"cull_idle_timeout": 600}}')
    assert any("kernels end" in finding.says for finding in killers.jupyter(box.machine))


def test_process_one_of_a_container(box: Box) -> None:
    box.file("/.dockerenv")
    box.file("/proc/1/comm", "python")
    box.file("/proc/1/cmdline", "python\0serve.py\0")
    assert "docker run --init" in str(one(killers.first_process(box.machine), Level.NOTE).mend)
    box.file("/proc/1/cmdline", "/sbin/docker-init\0--\0sleep\0")
    assert levels(killers.first_process(box.machine)) == {Level.GOOD}


def test_a_clock_that_drifts_and_a_machine_that_sleeps(box: Box) -> None:
    assert levels(killers.clock(box.machine)) == {Level.GOOD}
    box.clock = False
    assert "timedatectl set-ntp true" in str(one(killers.clock(box.machine), Level.WARNING).mend)
    box.clock = None
    assert levels(killers.clock(box.machine)) == {Level.NOTE}
    assert killers.suspend(box.machine) == []
    box.file("/sys/power/state", "freeze mem disk\n")
    assert levels(killers.suspend(box.machine)) == {Level.NOTE}
    box.file("/sys/class/power_supply/BAT0/type", "Battery\n")
    assert "systemctl mask sleep.target" in str(one(killers.suspend(box.machine), Level.WARNING).mend)
    box.commands["systemctl is-enabled suspend.target"] = "masked"
    assert levels(killers.suspend(box.machine)) == {Level.GOOD}


def test_other_killers_are_noted(box: Box) -> None:
    box.commands["systemctl is-active systemd-oomd"] = "active"
    assert "systemd-oomd" in killers.memory_daemon(box.machine)[0].says
    box.environ["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"
    assert "evicted" in killers.kubernetes(box.machine)[0].says


def test_software_is_there(box: Box) -> None:
    assert {finding.level for finding in software.versions(box.machine)} == {Level.GOOD}
    assert software.packages(box.machine)[0].says == "all there"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    init(tmp_path / "ws", timezone="Asia/Kolkata")
    return tmp_path / "ws"


def test_a_fresh_workspace_has_nothing_wrong(workspace: Path, box: Box) -> None:
    assert Level.ERROR not in levels(house.examine(workspace, box.machine))


def test_what_is_wrong_in_a_workspace_is_found(workspace: Path, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "stratpanel.toml").write_text('timezone = "Nowhere"\n')
    (workspace / "secrets.toml").chmod(0o644)
    found = {finding.name: finding for finding in house.examine(workspace, box.machine) if finding.level is Level.ERROR}
    assert "line 1, timezone" in found["settings"].says
    assert found["secrets"].mend == f"chmod 600 {workspace / 'secrets.toml'}"
    usage = type("Usage", (), {"free": 100 * 1024 * 1024, "total": 10 * GIB})
    monkeypatch.setattr(house.shutil, "disk_usage", lambda _path: usage)
    assert "dropped" in one(house.disk(workspace), Level.ERROR).says


def test_calendars_that_end_count_when_a_strategy_uses_them(workspace: Path) -> None:
    at = datetime(2040, 1, 1, tzinfo=UTC)
    assert levels(house.calendars(workspace, at)) == {Level.NOTE}
    entry = {"ema": {"name": "E", "file_path": "ema.py", "calendar": "nse"}}
    (workspace / "strategies" / "strategy_configs.json").write_text(json.dumps(entry))
    assert "NSE" in one(house.calendars(workspace, at), Level.ERROR).says
    assert levels(house.calendars(workspace, datetime(2026, 1, 5, tzinfo=UTC))) == {Level.GOOD}


def test_the_report_for_people_and_for_programs(workspace: Path, box: Box) -> None:
    out = io.StringIO()
    code = doctor.run(workspace, as_json=True, out=out)
    body = json.loads(out.getvalue())
    assert body["ok"] is (code == 0)
    assert {"name", "level", "says", "mend"} == set(body["findings"][0])
    assert body["scaling"]["max_strategies"] >= 1
    out = io.StringIO()
    found = [Finding("thing", Level.ERROR, "is broken", "mend --it")]
    report.show(found, box.machine, workspace, out)
    for text in ("thing", "is broken", "→ mend --it", "here →  8 GB and more", "1 error, 0 warnings"):
        assert text in out.getvalue()
    assert report.to_json(found, box.machine)["ok"] is False


def test_it_works_outside_of_a_workspace_and_a_broken_check_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_machine: Machine) -> list[Finding]:
        raise OSError("odd kernel")

    monkeypatch.setattr(limits, "CHECKS", (broken,))
    found = doctor.examine(None)
    assert "odd kernel" in found[0].says
    assert len(found) > 3


def test_the_real_clock_answers() -> None:
    assert Machine().clock_in_step() in (True, False, None)
