"""The states of a strategy, the events that move it, and the one table that says what each event does in each state.

The supervisor asks `transition()` at every event and obeys; nobody else changes a state. The table is total and is
checked at import: a cell is either the next state or the reason, in words, why the event means nothing there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What CONTRACTS promises to scripts; additions only."""

    STOPPED = "stopped"  # never ran, or ended because we stopped it
    STARTING = "starting"  # asked for, not yet alive for start_seconds
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"  # waiting to restart
    EXITED = "exited"  # ended by itself, any code, and will not be restarted
    FATAL = "fatal"  # gave up, or cannot start
    LOST = "lost"  # its lock is held, but no member can be found


class Event(StrEnum):
    """What can happen to a strategy, each named from its own point of view."""

    START_ASKED = "start_asked"  # by a person or by the schedule
    SPAWNED = "spawned"  # the runner has put the leader on record
    ALIVE_LONG_ENOUGH = "alive_long_enough"  # start_seconds have passed
    LEADER_EXITED = "leader_exited"  # the leader is gone, others of its tree live on
    ENDED_BY_ITSELF = "ended_by_itself"  # the tree is empty, nobody asked, no restart follows
    RESTART_PLANNED = "restart_planned"  # the tree is empty, and the policy wants another try
    ENDED_AFTER_STOP = "ended_after_stop"  # the tree is empty because we, or its deadline, stopped it
    START_FAILED = "start_failed"  # script or interpreter missing, log unwritable, still alive elsewhere …
    STOP_ASKED = "stop_asked"
    KILL_ASKED = "kill_asked"
    BACKOFF_ELAPSED = "backoff_elapsed"
    GAVE_UP = "gave_up"  # too many restarts in the window
    RESET_ASKED = "reset_asked"
    LOST = "lost"  # its lock is held, and neither leader nor member can be found
    FOUND_ALIVE = "found_alive"  # a run nobody here started is alive and now ours


@dataclass(frozen=True)
class Ignored:
    """The event changes nothing in this state; `reason` completes the sentence "ignored, because …"."""

    reason: str


#: states in which a tree of ours is or may be alive
LIVE = frozenset({State.STARTING, State.RUNNING, State.STOPPING, State.LOST})
#: states in which a strategy may be removed from the registry
REMOVABLE = frozenset({State.STOPPED, State.EXITED, State.FATAL})
#: states that answer a start with "it already is"
UP = frozenset({State.STARTING, State.RUNNING})

_NOT_RUNNING = "it is not running"
_NO_RUN = "no run is under way, so this belongs to an older one"
_NOT_WAITING = "it is not waiting to restart"
_OVER = "the end of that run is already known"
_RUNS = "it runs; there is nothing to reset"
_LOST = "its lock is held though no member can be found; reset it first"

S, E = State, Event

_ROWS: dict[Event, dict[State, State | str]] = {
    E.START_ASKED: {
        S.STOPPED: S.STARTING,
        S.STARTING: "it is starting already",
        S.RUNNING: "it is running already",
        S.STOPPING: "it is stopping; the start is asked again when it has ended",
        S.BACKOFF: S.STARTING,
        S.EXITED: S.STARTING,
        S.FATAL: S.STARTING,
        S.LOST: _LOST,
    },
    E.SPAWNED: {
        S.STOPPED: "nobody asked for it; a run that others started comes as found_alive",
        S.STARTING: S.STARTING,
        S.RUNNING: "it was known to run already",
        S.STOPPING: "the stop came first and reaches the run as soon as it is on record",
        S.BACKOFF: _NO_RUN,
        S.EXITED: _NO_RUN,
        S.FATAL: _NO_RUN,
        S.LOST: "a record alone proves no life; found_alive does",
    },
    E.ALIVE_LONG_ENOUGH: {
        S.STOPPED: _NO_RUN,
        S.STARTING: S.RUNNING,
        S.RUNNING: "it was known to run already",
        S.STOPPING: "it is being stopped",
        S.BACKOFF: _NO_RUN,
        S.EXITED: _NO_RUN,
        S.FATAL: _NO_RUN,
        S.LOST: "nobody can say whether it lives",
    },
    E.LEADER_EXITED: {
        S.STOPPED: _OVER,
        S.STARTING: S.STARTING,
        S.RUNNING: S.RUNNING,
        S.STOPPING: S.STOPPING,
        S.BACKOFF: _OVER,
        S.EXITED: _OVER,
        S.FATAL: _OVER,
        S.LOST: "the rest of its tree cannot be found either",
    },
    E.ENDED_BY_ITSELF: {
        S.STOPPED: _OVER,
        S.STARTING: S.EXITED,
        S.RUNNING: S.EXITED,
        S.STOPPING: S.STOPPED,
        S.BACKOFF: _OVER,
        S.EXITED: _OVER,
        S.FATAL: _OVER,
        S.LOST: S.EXITED,
    },
    E.RESTART_PLANNED: {
        S.STOPPED: "it was stopped; only a start brings it back",
        S.STARTING: S.BACKOFF,
        S.RUNNING: S.BACKOFF,
        S.STOPPING: S.BACKOFF,
        S.BACKOFF: "the restart is planned already",
        S.EXITED: S.BACKOFF,
        S.FATAL: "it gave up; only a person or its schedule starts it again",
        S.LOST: _LOST,
    },
    E.ENDED_AFTER_STOP: {
        S.STOPPED: _OVER,
        S.STARTING: S.STOPPED,
        S.RUNNING: S.STOPPED,
        S.STOPPING: S.STOPPED,
        S.BACKOFF: _OVER,
        S.EXITED: _OVER,
        S.FATAL: _OVER,
        S.LOST: S.STOPPED,
    },
    E.START_FAILED: {
        S.STOPPED: _NO_RUN,
        S.STARTING: S.FATAL,
        S.RUNNING: "it runs, so it has started",
        S.STOPPING: S.STOPPED,
        S.BACKOFF: _NO_RUN,
        S.EXITED: _NO_RUN,
        S.FATAL: "the failure is known already",
        S.LOST: _LOST,
    },
    E.STOP_ASKED: {
        S.STOPPED: _NOT_RUNNING,
        S.STARTING: S.STOPPING,
        S.RUNNING: S.STOPPING,
        S.STOPPING: "it is being stopped already",
        S.BACKOFF: S.STOPPED,
        S.EXITED: _NOT_RUNNING,
        S.FATAL: _NOT_RUNNING,
        S.LOST: "no member can be found that could be asked to stop",
    },
    E.KILL_ASKED: {
        S.STOPPED: _NOT_RUNNING,
        S.STARTING: S.STOPPING,
        S.RUNNING: S.STOPPING,
        S.STOPPING: S.STOPPING,
        S.BACKOFF: S.STOPPED,
        S.EXITED: _NOT_RUNNING,
        S.FATAL: _NOT_RUNNING,
        S.LOST: "no member can be found that could be killed",
    },
    E.BACKOFF_ELAPSED: {
        S.STOPPED: _NOT_WAITING,
        S.STARTING: _NOT_WAITING,
        S.RUNNING: _NOT_WAITING,
        S.STOPPING: _NOT_WAITING,
        S.BACKOFF: S.STARTING,
        S.EXITED: _NOT_WAITING,
        S.FATAL: _NOT_WAITING,
        S.LOST: _NOT_WAITING,
    },
    E.GAVE_UP: {
        S.STOPPED: "it was stopped, so there is nothing to give up",
        S.STARTING: S.FATAL,
        S.RUNNING: S.FATAL,
        S.STOPPING: S.FATAL,
        S.BACKOFF: S.FATAL,
        S.EXITED: S.FATAL,
        S.FATAL: "it gave up before",
        S.LOST: _LOST,
    },
    E.RESET_ASKED: {
        S.STOPPED: "there is nothing to reset",
        S.STARTING: _RUNS,
        S.RUNNING: _RUNS,
        S.STOPPING: "it is being stopped; there is nothing to reset",
        S.BACKOFF: "it is waiting to restart; stop it or start it",
        S.EXITED: S.STOPPED,
        S.FATAL: S.STOPPED,
        S.LOST: S.STOPPED,
    },
    E.LOST: {
        S.STOPPED: S.LOST,
        S.STARTING: S.LOST,
        S.RUNNING: S.LOST,
        S.STOPPING: S.LOST,
        S.BACKOFF: S.LOST,
        S.EXITED: S.LOST,
        S.FATAL: S.LOST,
        S.LOST: "that is known already",
    },
    E.FOUND_ALIVE: {
        S.STOPPED: S.RUNNING,
        S.STARTING: S.RUNNING,
        S.RUNNING: "it was known to run already",
        S.STOPPING: "it is being stopped",
        S.BACKOFF: S.RUNNING,
        S.EXITED: S.RUNNING,
        S.FATAL: S.RUNNING,
        S.LOST: S.RUNNING,
    },
}


def _complete_table() -> dict[tuple[State, Event], State | Ignored]:
    """Turn the rows into the table; raise at import if any cell is missing or has no reason."""
    table: dict[tuple[State, Event], State | Ignored] = {}
    for event in Event:
        row = _ROWS.get(event, {})
        for state in State:
            cell = row.get(state)
            if isinstance(cell, State):
                table[state, event] = cell
            elif cell:
                table[state, event] = Ignored(cell)
            else:
                raise RuntimeError(f"the state table says nothing about {event} in {state}")
    return table


TABLE: dict[tuple[State, Event], State | Ignored] = _complete_table()


def transition(state: State, event: Event) -> State | Ignored:
    """Return the state after `event`, or why it is ignored in `state`."""
    return TABLE[state, event]


def ended_badly(run: Mapping[str, Any]) -> bool:
    """True for a run, as the API tells it, that is over, that nobody stopped, and that did not exit with code 0."""
    return bool(run.get("ended")) and not run.get("stopped_by_us") and run.get("exit_code") != 0
