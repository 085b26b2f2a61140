"""Usage of one strategy in whole numbers: samples, buckets of 1 s to 15 min, and how buckets add up.

Used by the history. CPU is kept in hundredths of a percent of one core, memory in KiB, so that sums are integers and a
roll-up is exact in whatever order and portions samples arrive. Pure: no clock, no disk.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LEVELS = (1, 10, 60, 900)  # seconds per bucket; the last is there so that a month is a few thousand rows to read
KEEP_S = {1: 3600, 10: 2 * 86_400, 60: 30 * 86_400, 900: 400 * 86_400}
MOST_POINTS = 10_000
MOST_SUMMED = 5000  # points that SQLite must add up first, which costs as much again as reading them
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


Row = tuple[int, ...]  # t and the figures of a Bucket, as SQLite gives them
_GAP: Row = (0, 0, 0, NONE, 0, 0, NONE, NONE, NONE)


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

    A step finer than what is kept that far back is raised to it; one that gives over MOST_POINTS (MOST_SUMMED where
    it is coarser than what is kept) gives fewer.
    """
    level = next((level for level in LEVELS if age_s <= KEEP_S[level]), LEVELS[-1])
    if step is None:
        wanted = span_s / USUAL_POINTS
        step = next((nice for nice in _NICE if nice >= wanted and nice % level == 0), _NICE[-1])
    step = max(step, math.ceil(span_s / MOST_POINTS), 1)
    # the coarsest level the step allows has the fewest rows; a finer step is not worth too many of them
    level = max(other for other in LEVELS if other == level or (other > level and step % other == 0))
    level = next((other for other in LEVELS if other >= level and span_s / other <= MOST_ROWS), LEVELS[-1])
    if step > level:
        step = max(step, math.ceil(span_s / MOST_SUMMED))
    return level, math.ceil(step / level) * level


def with_news(rows: list[Row], news: Mapping[int, Bucket]) -> list[Row]:
    """Rows, by time, with buckets added to those of the same time; rows before the first of these are not looked at."""
    if not news:
        return rows
    first, changed = min(news), dict(news)
    keep = len(rows)
    while keep and rows[keep - 1][0] >= first:
        keep -= 1
        t, *known = rows[keep]
        old = Bucket._make(known)
        changed[t] = merge(old, changed[t]) if t in changed else old
    return rows[:keep] + [(t, *changed[t]) for t in sorted(changed)]


def series(rows: Sequence[Row], step: int, first: int, last: int) -> dict[str, object]:
    """The usage body of CONTRACTS over the grid first, first+step … last; null where there is no row.

    Column by column: 10,000 points take 12 ms, object by object 40.
    """
    grid = range(first, last + 1, step) if rows else range(0)
    placed: list[Row] = [_GAP] * len(grid)
    for row in rows:
        placed[(row[0] - first) // step] = row
    columns = tuple(zip(*placed, strict=True)) or ((),) * len(_GAP)
    _, cpu_n, cpu_sum, cpu_max, memory_n, memory_sum, memory_max, threads, files = columns
    return {
        "step_s": step,
        "t": list(grid),
        "cpu_percent": [round(total / n / 100, 2) if n else None for total, n in zip(cpu_sum, cpu_n, strict=True)],
        "memory_mb": [round(total / n / 1024, 3) if n else None for total, n in zip(memory_sum, memory_n, strict=True)],
        "threads": [None if value < 0 else value for value in threads],
        "open_files": [None if value < 0 else value for value in files],
        "cpu_percent_max": [None if value < 0 else value / 100 for value in cpu_max],
        "memory_mb_max": [None if value < 0 else round(value / 1024, 3) for value in memory_max],
    }
