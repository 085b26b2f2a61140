"""What this machine or container gives us: memory, cores, descriptors, processes, pipes."""

from __future__ import annotations

import os
from collections.abc import Callable

from stratpanel import scaling
from stratpanel.doctor.finding import Finding, Level
from stratpanel.doctor.machine import Machine

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

DESCRIPTORS_WANTED = 4096  # a supervisor uses about 5 per strategy; 500 of them and room
THREADS_WANTED = 4096
PIPE_PAGES_WANTED = 4096  # a pipe of 16 pages for each of 256 strategies


def memory(machine: Machine) -> list[Finding]:
    """Memory for strategies: the container's limit counts before the hardware."""
    limit, hardware = scaling.container_memory_mb(machine.root), scaling.hardware_memory_mb(machine.root)
    usable = scaling.machine_memory_mb(machine.root)
    where = "container" if limit and (not hardware or limit < hardware) else "machine"
    says = f"{usable / 1024:.1f} GiB in this {where}"
    if usable < 1024:
        mend = "give it 2 GB or more: docker run --memory 2g …" if where == "container" else "add memory"
        return [Finding("memory", Level.WARNING, f"{says}: room for one or two strategies with pandas", mend)]
    return [Finding("memory", Level.GOOD, says)]


def killed_for_memory(machine: Machine) -> list[Finding]:
    """Processes of this container that the kernel has killed for memory."""
    for folder in scaling.cgroup_folders(machine.root):
        for line in (machine.text(str(folder.relative_to(machine.root) / "memory.events")) or "").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.strip() != "0":
                return [
                    Finding(
                        "out of memory",
                        Level.WARNING,
                        f"the kernel has killed {count.strip()} processes for memory since this container started",
                        "lower the strategies' memory limits, or raise the container's: docker update --memory 8g NAME",
                    )
                ]
    return []


def processors(machine: Machine) -> list[Finding]:
    """Cores, and the threads each strategy's libraries get."""
    cores = scaling.machine_cpus(machine.root)
    quota = scaling.container_cpus(machine.root)
    threads = scaling.advice(scaling.machine_memory_mb(machine.root), cores).threads
    says = f"{cores:g} cores" + (" (the container's quota)" if quota and quota <= cores else "")
    if cores < 1:
        return [
            Finding(
                "processors",
                Level.WARNING,
                f"{says}: starts at the open will be late",
                "raise the quota: docker update --cpus 2 NAME",
            )
        ]
    return [Finding("processors", Level.GOOD, f"{says}; strategies get {threads} threads per numerical library")]


def control_group(machine: Machine) -> list[Finding]:
    """The cgroup we are in and how many processes it allows."""
    folders = scaling.cgroup_folders(machine.root)
    if not folders:
        return [Finding("control group", Level.NOTE, "none visible; limits of a container cannot be seen")]
    version = 2 if machine.path("/sys/fs/cgroup/cgroup.controllers").exists() else 1
    for folder in folders:
        text = machine.text(str(folder.relative_to(machine.root) / "pids.max"))
        if text and text.strip().isdigit() and int(text) < THREADS_WANTED:
            return [
                Finding(
                    "control group",
                    Level.WARNING,
                    f"cgroup {version} allows {int(text)} processes and threads; starts fail with `cannot fork` beyond",
                    "docker run --pids-limit 16384 …, or TasksMax=16384 in the systemd unit",
                )
            ]
    return [Finding("control group", Level.GOOD, f"cgroup {version}")]


def user_limits(machine: Machine) -> list[Finding]:
    """What ulimit says: descriptors, processes, address space, file size."""
    if resource is None or not machine.is_linux:
        return []
    found: list[Finding] = []
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS_WANTED:
        found.append(
            Finding(
                "open files",
                Level.WARNING,
                f"at most {hard} open files (hard limit): room for about {hard // 8} strategies",
                "as root: echo '* hard nofile 65536' >> /etc/security/limits.conf, then log in again",
            )
        )
    _soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard != resource.RLIM_INFINITY and hard < THREADS_WANTED and os.geteuid() != 0:
        found.append(
            Finding(
                "processes",
                Level.WARNING,
                f"at most {hard} processes and threads of this user; NumPy in many strategies needs more",
                "as root: echo '* hard nproc 65536' >> /etc/security/limits.conf, then log in again",
            )
        )
    for name, what, mend in (
        ("RLIMIT_AS", "address space: pandas and threads fail to start", "ulimit -v unlimited"),
        ("RLIMIT_FSIZE", "file size: logs and history stop growing there", "ulimit -f unlimited"),
        ("RLIMIT_CPU", "CPU time: everything is killed when it is used up", "ulimit -t unlimited"),
    ):
        soft, _hard = resource.getrlimit(getattr(resource, name))
        if soft != resource.RLIM_INFINITY:
            found.append(
                Finding("user limits", Level.ERROR, f"{name} limits the {what} ({soft})", f"{mend}; then `up`")
            )
    return found or [Finding("user limits", Level.GOOD, "enough open files and processes, no other limits")]


def kernel_numbers(machine: Machine) -> list[Finding]:
    """Pipe pages of this user and the largest PID."""
    found: list[Finding] = []
    pages = machine.number("/proc/sys/fs/pipe-user-pages-soft")
    if pages is not None and 0 < pages < PIPE_PAGES_WANTED:
        found.append(
            Finding(
                "pipe pages",
                Level.WARNING,
                f"{pages} pages of pipe per user: log pipes beyond {pages // 16} strategies hold 8 KiB only",
                "sudo sysctl -w fs.pipe-user-pages-soft=16384",
            )
        )
    largest = machine.number("/proc/sys/kernel/pid_max")
    if largest is not None and largest < 32_768:
        found.append(
            Finding(
                "process numbers", Level.WARNING, f"only {largest} at once", "sudo sysctl -w kernel.pid_max=4194304"
            )
        )
    if machine.number("/proc/sys/vm/overcommit_memory") == 2:
        found.append(
            Finding(
                "overcommit",
                Level.WARNING,
                "vm.overcommit_memory is 2: forks fail although memory is free",
                "sudo sysctl -w vm.overcommit_memory=0",
            )
        )
    if found or pages is None:
        return found
    return [Finding("pipe pages", Level.GOOD, f"{pages} pages of pipe for this user")]


CHECKS: tuple[Callable[[Machine], list[Finding]], ...] = (
    memory,
    killed_for_memory,
    processors,
    control_group,
    user_limits,
    kernel_numbers,
)
