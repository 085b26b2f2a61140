"""Usage adds up exactly: whatever portions it is written in, however it is asked for, it equals the raw samples."""

from __future__ import annotations

import math
from array import array
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stratpanel.supervisor.history import usage
from stratpanel.supervisor.history.history import History

NOW = 1_795_000_000
FIGURE = st.none() | st.floats(0, 10_000, allow_nan=False)
COUNT = st.none() | st.integers(0, 5000)
SAMPLES = st.lists(st.tuples(st.integers(0, 3000), FIGURE, FIGURE, COUNT, COUNT), max_size=60)


def plain_answer(samples: list[tuple[int, usage.Figures]], step: int) -> dict[int, tuple[object, ...]]:
    """The same roll-up, straight from the samples as they were measured."""
    spans: dict[int, list[usage.Figures]] = {}
    for t, figures in samples:
        spans.setdefault(t - t % step, []).append(figures)
    answer = {}
    for at, found in spans.items():
        cpu = [round(f[0] * 100) for f in found if f[0] is not None]
        memory = [round(f[1] * 1024) for f in found if f[1] is not None]
        threads = [f[2] for f in found if f[2] is not None]
        files = [f[3] for f in found if f[3] is not None]
        answer[at] = (
            round(sum(cpu) / len(cpu) / 100, 2) if cpu else None,
            round(sum(memory) / len(memory) / 1024, 3) if memory else None,
            max(threads, default=None),
            max(files, default=None),
            max(cpu) / 100 if cpu else None,
            round(max(memory) / 1024, 3) if memory else None,
        )
    return answer


def answered(body: dict[str, object]) -> dict[int, tuple[object, ...]]:
    """What the history says, without its gaps."""
    columns = ("cpu_percent", "memory_mb", "threads", "open_files", "cpu_percent_max", "memory_mb_max")
    rows = zip(body["t"], *(body[name] for name in columns), strict=True)  # type: ignore[call-overload]
    return {row[0]: row[1:] for row in rows if any(value is not None for value in row[1:])}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=SAMPLES, cuts=st.sets(st.integers(0, 60)), step=st.sampled_from([1, 10, 30, 60, 900]))
def test_what_is_asked_equals_the_raw_samples_in_whatever_portions_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, samples: list[tuple[object, ...]], cuts: set[int], step: int
) -> None:
    history = History(tmp_path_factory.mktemp("usage") / "u.db", now=lambda: NOW)
    try:
        raw: list[tuple[int, usage.Figures]] = []
        for number, (back, *figures) in enumerate(samples):
            if number in cuts:
                assert history.flush()
            t = NOW - int(back)  # type: ignore[call-overload]
            raw.append((t, tuple(figures)))  # type: ignore[arg-type]
            history.add_usage(t, {"ema": tuple(figures)})  # type: ignore[dict-item]
        since = NOW - 3000 - step
        expected = {at: row for at, row in plain_answer(raw, step).items() if any(v is not None for v in row)}
        assert answered(history.usage("ema", since=since, step=step, until=NOW)) == expected
        assert history.flush()
        assert answered(history.usage("ema", since=since, step=step, until=NOW)) == expected
    finally:
        history.close()


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 400), st.floats(0, 4000)), max_size=80), st.data())
def test_rolling_up_in_stages_equals_rolling_up_at_once(
    samples: list[tuple[int, float, float]], data: st.DataObject
) -> None:
    flat = array("q")
    for t, cpu, memory in samples:
        usage.add_sample(flat, t, (cpu, memory, None, None))
    seconds = usage.seconds(flat)
    first = data.draw(st.sampled_from([1, 10]))
    assert usage.roll(usage.roll(seconds, first), 60) == usage.roll(seconds, 60)
    assert sum(bucket.cpu_n for bucket in usage.roll(seconds, 60).values()) == len(samples)


@given(st.floats(0, usage.KEEP_S[900]), st.floats(0, 1), st.none() | st.integers(1, 100_000))
def test_a_step_is_a_multiple_of_a_level_that_is_kept_so_far_back_and_gives_few_points(
    age: float, share: float, wanted: int | None
) -> None:
    level, step = usage.choose(age * share, age, wanted)
    assert level in usage.LEVELS
    assert step % level == 0
    assert age <= usage.KEEP_S[level]
    assert age * share / step <= (usage.MOST_POINTS if step == level else usage.MOST_SUMMED)
    assert wanted is None or step >= wanted


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_figure_that_is_none_is_unknown(value: float) -> None:
    flat = array("q")
    usage.add_sample(flat, 5.9, (value, 1.0, None, 3))
    assert list(flat) == [5, usage.NONE, 1024, usage.NONE, 3]


def test_steps_that_people_ask_for(tmp_path: Path) -> None:
    assert usage.choose(3600, 3600, None) == (1, 1)
    assert usage.choose(300, 300, 10) == (10, 10)
    assert usage.choose(86_400, 86_400, None)[1] == 30
    assert usage.choose(3600, 7200, 1) == (10, 10)  # seconds are kept for an hour only
    assert usage.choose(30 * 86_400, 30 * 86_400, None) == (900, 900)


def test_gaps_are_null_and_the_grid_is_even(tmp_path: Path) -> None:
    history = History(tmp_path / "u.db", now=lambda: NOW)
    for second in (0, 1, 5):
        history.add_usage(NOW - 10 + second, {"ema": (1.0, 2.0, None, 4)})
    body = history.usage("ema", since=NOW - 10)
    history.close()
    assert body["step_s"] == 1
    assert body["t"] == list(range(NOW - 10, NOW))
    assert body["cpu_percent"] == [1.0, 1.0, None, None, None, 1.0, None, None, None, None]
    assert body["threads"] == [None] * 10
    assert history.usage("nobody")["t"] == []


def test_old_seconds_go_and_their_roll_ups_stay(tmp_path: Path) -> None:
    clock = [float(NOW)]
    history = History(tmp_path / "u.db", now=lambda: clock[0])
    for second in range(120):
        history.add_usage(NOW + second, {"ema": (float(second % 2), 10.0, None, None)})
    assert history.flush()
    clock[0] = NOW + 86_400
    history.add_usage(clock[0], {"ema": (7.0, 10.0, None, None)})
    assert history.flush()
    day = history.usage("ema", since=NOW, step=1)
    assert day["step_s"] == 10
    assert [c for c in day["cpu_percent"] if c is not None][:12] == [0.5] * 12  # type: ignore[union-attr]
    rows = history._file.ask(lambda file, view: file.execute("SELECT count(*) FROM usage_1").fetchone()[0])  # type: ignore[union-attr]
    assert rows == 1
    clock[0] = NOW + 3 * 86_400
    history.add_usage(clock[0], {"ema": (7.0, 10.0, None, None)})
    assert history.flush()
    minutes = history.usage("ema", since=NOW, step=60)
    assert minutes["step_s"] == 60
    assert minutes["cpu_percent"][:2] == [0.5, 0.5]  # type: ignore[index]
    history.forget("ema")
    assert history.flush()
    assert history.usage("ema", since=NOW)["t"] == []
    history.close()
