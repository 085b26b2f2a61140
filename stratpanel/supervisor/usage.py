"""Usage of one strategy in whole numbers: samples, buckets of 1 s to 15 min, and how buckets add up.

Used by the history. CPU is kept in hundredths of a percent of one core, memory in KiB, so that sums are integers and a
roll-up is exact in whatever order and portions samples arrive. Pure: no clock, no disk.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import NamedTuple

LEVELS = (1, 10, 60, 900)  # seconds per bucket; the last is there so that a month is a few thousand rows to read
KEEP_S = {1: 3600, 10: 2 * 86_400, 60: 30 * 86_400, 900: 400 * 86_400}
MOST_POINTS = 10_000
MOST_ROWS = 20_000  # read for one answer, about 40 ms of SQLite
USUAL_POINTS = 3600
_NICE = (1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
NONE = -1  # a figure that is not known, in arrays and columns of integers
WIDTH = 5  # integers per sample in a Samples array: t, cpu, memory, threads, files

Figures = tuple[float | None, float | None, int | None, int | None]  # cpu percent, memory MiB, threads, open files


class Bucket(NamedTuple):
    """What is known of one span of time; NONE where nothing is."""

    cpu_n: int
    cpu_sum: int  # hundredths of a percent
    cpu_max: int
    memory_n: int
    memory_sum: int  # KiB
    memory_max: int
    threads: int  # largest
    files: int  # largest


_EMPTY = Bucket(0, 0, NONE, 0, 0, NONE, NONE, NONE)


def _whole(value: float | None, scale: int) -> int:
    if value is None or not math.isfinite(value) or value < 0:
        return NONE
    return min(round(value * scale), 1 << 46)  # 65,536 of them still fit SQLite's 63 bits


def add_sample(samples: array[int], t: float, figures: Figures) -> None:
    """Append one sample to a flat array of WIDTH integers per sample."""
    cpu, memory, threads, files = figures
    samples.extend((int(t), _whole(cpu, 100), _whole(memory, 1024), _whole(threads, 1), _whole(files, 1)))


def merge(a: Bucket, b: Bucket) -> Bucket:
    """The bucket that has the samples of both."""
    return Bucket(
        a.cpu_n + b.cpu_n,
        a.cpu_sum + b.cpu_sum,
        max(a.cpu_max, b.cpu_max),
        a.memory_n + b.memory_n,
        a.memory_sum + b.memory_sum,
        max(a.memory_max, b.memory_max),
        max(a.threads, b.threads),
        max(a.files, b.files),
    )


def seconds(samples: array[int]) -> dict[int, Bucket]:
    """Buckets of one second from a samples array."""
    buckets: dict[int, Bucket] = {}
    for i in range(0, len(samples), WIDTH):
        t, cpu, memory, threads, files = samples[i : i + WIDTH]
        one = Bucket(int(cpu >= 0), max(cpu, 0), cpu, int(memory >= 0), max(memory, 0), memory, threads, files)
        known = buckets.get(t)
        buckets[t] = one if known is None else merge(known, one)
    return buckets


def roll(buckets: Mapping[int, Bucket], step: int) -> dict[int, Bucket]:
    """The same samples in buckets of `step` seconds, which must be a multiple of the buckets' own."""
    rolled: dict[int, Bucket] = {}
    for t, bucket in buckets.items():
        at = t - t % step
        known = rolled.get(at)
        rolled[at] = bucket if known is None else merge(known, bucket)
    return rolled


def choose(span_s: float, age_s: float, step: int | None) -> tuple[int, int]:
    """(level to read, step to answer) for a span of `span_s` seconds whose beginning is `age_s` seconds old.

    A step finer than what is kept that far back is raised to it, and one that gives over MOST_POINTS to fewer.
    """
    level = next((level for level in LEVELS if age_s <= KEEP_S[level]), LEVELS[-1])
    if step is None:
        wanted = span_s / USUAL_POINTS
        step = next((nice for nice in _NICE if nice >= wanted and nice % level == 0), _NICE[-1])
    step = max(step, math.ceil(span_s / MOST_POINTS), 1)
    # the coarsest level the step allows has the fewest rows; a finer step is not worth too many of them
    level = max(other for other in LEVELS if other == level or (other > level and step % other == 0))
    level = next((other for other in LEVELS if other >= level and span_s / other <= MOST_ROWS), LEVELS[-1])
    return level, math.ceil(step / level) * level


def series(buckets: Mapping[int, Bucket], step: int, first: int, last: int) -> dict[str, object]:
    """The usage body of CONTRACTS over the grid first, first+step … last; null where there is no bucket."""
    grid = range(first, last + 1, step) if buckets else range(0)
    found = [buckets.get(t, _EMPTY) for t in grid]
    return {
        "step_s": step,
        "t": list(grid),
        "cpu_percent": [round(b[1] / b[0] / 100, 2) if b[0] else None for b in found],
        "memory_mb": [round(b[4] / b[3] / 1024, 3) if b[3] else None for b in found],
        "threads": [None if b[6] < 0 else b[6] for b in found],
        "open_files": [None if b[7] < 0 else b[7] for b in found],
        "cpu_percent_max": [b[2] / 100 if b[0] else None for b in found],
        "memory_mb_max": [round(b[5] / 1024, 3) if b[3] else None for b in found],
    }
