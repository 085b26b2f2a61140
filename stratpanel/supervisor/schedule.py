"""APScheduler, reduced to what it is good at: saying *when to look*. What to do is the reconciler's business.

One job per scheduled strategy with a trigger over its market boundaries; a job only posts the strategy's id to the
loop. No job ever starts or stops anything, so a late, lost or doubled job can cost at most the reconciler's own few
seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.executors.debug import DebugExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from stratpanel.market.decide import boundaries
from stratpanel.market.plan import Plan

if TYPE_CHECKING:
    from stratpanel.market.calendar import Calendar

# its own INFO lines would be one per edge and strategy
logging.getLogger("apscheduler").setLevel(logging.WARNING)

WORDS = {
    EVENT_JOB_MISSED: "schedule_missed",
    EVENT_JOB_MAX_INSTANCES: "schedule_max_instances",
    EVENT_JOB_ERROR: "schedule_error",
}


class BoundaryTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires at every start and stop that a plan announces on its calendar."""

    def __init__(self, plan: Plan, calendar: Calendar | None) -> None:
        self._plan = plan
        self._calendar = calendar

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first boundary after the later of now and the one that fired last; None when there is none in sight."""
        after = now if previous_fire_time is None else max(previous_fire_time, now)
        coming = boundaries(self._plan, self._calendar, after.astimezone(UTC), 1)
        return coming[0].at if coming else None


class EdgeScheduler:
    """Wakes the reconciler at each strategy's edges. Changed on the loop's thread; its own thread only posts."""

    def __init__(self, post: Callable[[str], None], trouble: Callable[[str, str, str], None]) -> None:
        """`post(id)` and `trouble(event type, id, message)` are called from the scheduler's thread."""
        self._post = post
        self._trouble = trouble
        # this executor runs a job inside the scheduler's own thread: posting takes microseconds, a pool megabytes
        self._scheduler = BackgroundScheduler(
            jobstores={"default": MemoryJobStore()},
            executors={"default": DebugExecutor()},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
            timezone=UTC,
            daemon=True,
        )
        self._scheduler.add_listener(self._listen, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES | EVENT_JOB_ERROR)

    def start(self) -> None:
        """Begin to post."""
        self._scheduler.start()

    def stop(self) -> None:
        """End the scheduler's thread."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def set(self, id: str, plan: Plan, calendar: Calendar | None) -> None:
        """(Re)place the job of one strategy; a plan that is off has none."""
        if not plan.enabled:
            self.remove(id)
            return
        self._scheduler.add_job(
            self._post, BoundaryTrigger(plan, calendar), args=(id,), id=id, name=id, replace_existing=True
        )

    def remove(self, id: str) -> None:
        """Forget a strategy's job; one that has none is fine."""
        try:
            self._scheduler.remove_job(id)
        except JobLookupError:
            return

    def look_again(self) -> None:
        """The clock jumped: recompute the sleep, which APScheduler counts in monotonic time."""
        if self._scheduler.running:
            self._scheduler.wakeup()

    def _listen(self, event: Any) -> None:
        message = "the schedule's alarm came late or failed; the reconciler makes up for it"
        error = getattr(event, "exception", None)
        self._trouble(WORDS[event.code], str(event.job_id), f"{message}: {error}" if error else message)
