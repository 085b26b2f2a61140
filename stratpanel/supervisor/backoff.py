"""When a strategy that ended by itself runs again: pure functions over its policy and its recent restarts.

Called by the unit when a run ends. Nothing here starts anything or reads a clock.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

JITTER: Final = 0.1  # up to 10 % more, so that strategies felled by one cause don't hit the broker in one instant

Policy = Literal["never", "on-failure", "always"]


@dataclass(frozen=True, slots=True)
class RestartRules:
    """One strategy's restart policy. Seconds throughout; see CONTRACTS for the defaults."""

    policy: str = "never"
    max_restarts: int = 5
    window_s: float = 600.0
    backoff_s: float = 5.0
    backoff_max_s: float = 300.0
    stable_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows an end: `again` after `delay_s`, or give up (`fatal`), or leave it ended; `why` in words."""

    again: bool
    fatal: bool
    delay_s: float
    why: str


def backoff_delay(attempt: int, rules: RestartRules, rng: random.Random) -> float:
    """Seconds to wait before restart number `attempt` (1 = first): doubles from `backoff_s`, never over the maximum."""
    grown = rules.backoff_s * 2.0 ** min(attempt - 1, 32)
    return min(grown * (1.0 + rng.random() * JITTER), rules.backoff_max_s)


def recent_restarts(times: Sequence[float], now: float, lived_s: float | None, rules: RestartRules) -> list[float]:
    """The restarts (epoch seconds) that still count: none after a stable run, else those of the last `window_s`.

    A time in the future (the clock was set back) counts as now.
    """
    if lived_s is not None and lived_s >= rules.stable_s:
        return []
    return [min(at, now) for at in times if now - at < rules.window_s]


def after_end(failed: bool, recent: Sequence[float], rules: RestartRules, rng: random.Random) -> Verdict:
    """What the policy says after a run that ended by itself; `failed` is true for anything but exit code 0."""
    wanted = rules.policy == "always" or (rules.policy == "on-failure" and failed)
    if not wanted:
        return Verdict(False, False, 0.0, "its policy is not to restart it" if failed else "finished")
    if len(recent) >= rules.max_restarts:
        return Verdict(False, True, 0.0, f"gave up after {len(recent)} restarts in {rules.window_s:g} s")
    delay = backoff_delay(len(recent) + 1, rules, rng)
    return Verdict(True, False, delay, f"restart {len(recent) + 1} of {rules.max_restarts} in {delay:.0f} s")
