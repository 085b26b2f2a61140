"""How many strategies this machine carries, and how many threads each may use: the seed's table applied to it.

Used for the thread caps of every strategy, the warning at a start too many, and `doctor`. Standard library only. A
container's quota counts before the machine's hardware; nothing here changes anything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True)
class Advice:
    """One row of the table: threads per library, MiB per strategy, strategies at once."""

    threads: int
    memory_mb: int
    max_strategies: int


def _number(path: Path) -> float | None:
    """The first number in a one-line file of the kernel; None when missing or `max`."""
    try:
        word = path.read_text(encoding="ascii").split()[0]
        return float(word)
    except (OSError, ValueError, IndexError):  # not this cgroup version, or no limit
        return None


def cgroup_folders(root: Path = Path("/")) -> list[Path]:
    """The folders of our own cgroup from the innermost out; in most containers just the root of the mount."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, inner = [*line.split(":", 2), "", "", ""][:3]
        for controller in controllers.split(","):  # cgroup 2 has one line without controllers: the mount itself
            base = root / "sys/fs/cgroup" / controller
            if not base.is_dir():
                continue
            here = base / inner.lstrip("/")
            while here != base and base in here.parents:
                folders.append(here)
                here = here.parent
            folders.append(base)
    return folders


def container_memory_mb(root: Path = Path("/")) -> float | None:
    """The smallest memory limit of our cgroups in MiB; None without one."""
    limits = [
        value
        for folder in cgroup_folders(root)
        for name in ("memory.max", "memory.limit_in_bytes")
        if (value := _number(folder / name)) is not None
        and value < 1 << 60  # cgroup 1 writes "no limit" as a huge number
    ]
    return min(limits) / 1_048_576 if limits else None


def container_cpus(root: Path = Path("/")) -> float | None:
    """The smallest CPU quota of our cgroups in cores; None without one."""
    quotas: list[float] = []
    for folder in cgroup_folders(root):
        try:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()[:2]
            quotas.append(float(quota) / float(period))
        except (OSError, ValueError):  # missing, or "max": no quota at this level
            old_quota, old_period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
            if old_quota and old_period and old_quota > 0:
                quotas.append(old_quota / old_period)
    return min(quotas) if quotas else None


def hardware_memory_mb(root: Path = Path("/")) -> float | None:
    """MemTotal in MiB; None where the kernel does not tell."""
    try:
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemTotal:"):
                return float(line.split()[1]) / 1024
    except OSError:  # not Linux: ask the C library
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1_048_576
        except (ValueError, OSError, AttributeError):  # Windows
            return None
    return None


def machine_memory_mb(root: Path = Path("/")) -> float:
    """Memory we may use in MiB: the container's limit or the machine's, whichever is smaller (4096 when unknown)."""
    known = [value for value in (container_memory_mb(root), hardware_memory_mb(root)) if value]
    return min(known) if known else 4096.0


def machine_cpus(root: Path = Path("/")) -> float:
    """Cores we may use: the container's quota or the CPUs this process may run on."""
    try:
        usable = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS, Windows
        usable = float(os.cpu_count() or 1)
    quota = container_cpus(root)
    return min(usable, quota) if quota else usable


def advice(memory_mb: float | None = None, cpus: float | None = None) -> Advice:
    """The seed's row: 2 GB → 1 thread, 256 MB, 5 · 4 GB → 2, 512, 5–8 · 8 GB and more → 2–4, 1024, 10 and up.

    Above 8 GB the number of strategies grows with memory at the same share (10 × 1024 MiB of 8 GB oversubscribes on
    purpose: few strategies reach their limit at once); threads never exceed the cores.
    """
    memory_mb = machine_memory_mb() if memory_mb is None else memory_mb
    cores = max(1, int(machine_cpus() if cpus is None else cpus))
    if memory_mb < 3584:  # a "4 GB" machine shows 3.7 to 3.9 GiB
        return Advice(1, 256, 5 if memory_mb >= 1536 else max(1, int(memory_mb // 300)))
    if memory_mb < 7168:
        return Advice(min(2, cores), 512, 5 + min(3, max(0, int((memory_mb - 3584) // 1024))))
    return Advice(min(4 if memory_mb >= 15_360 else 2, cores), 1024, max(10, int(memory_mb / 8192 * 10)))


def thread_caps(memory_mb: float | None = None, cpus: float | None = None) -> dict[str, str]:
    """The variables that keep numerical libraries from starting a thread per core in every strategy."""
    threads = str(advice(memory_mb, cpus).threads)
    return dict.fromkeys(THREAD_VARIABLES, threads)
