"""The state table: total, reasoned, and never a way to two copies or past a person's stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratpanel.model import states
from stratpanel.model.states import LIVE, REMOVABLE, TABLE, UP, Event, Ignored, State, transition

S, E = State, Event


def test_every_event_in_every_state_is_answered_by_a_state_or_a_reason() -> None:
    assert set(TABLE) == {(state, event) for state in State for event in Event}
    for cell in TABLE.values():
        if isinstance(cell, Ignored):
            assert len(cell.reason.split()) >= 3
            assert cell.reason[0].islower()
            assert not cell.reason.endswith(".")
        else:
            assert isinstance(cell, State)


def test_a_table_with_a_hole_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {event: dict(row) for event, row in states._ROWS.items()}
    del rows[E.LOST][S.FATAL]
    monkeypatch.setattr(states, "_ROWS", rows)
    with pytest.raises(RuntimeError, match=r"nothing about lost in fatal"):
        states._complete_table()


def test_names_are_those_of_the_contract() -> None:
    assert [str(state) for state in State] == [
        "stopped",
        "starting",
        "running",
        "stopping",
        "backoff",
        "exited",
        "fatal",
        "lost",
    ]


@pytest.mark.parametrize("state", sorted(LIVE - UP))
def test_a_start_while_anything_may_live_never_starts(state: State) -> None:
    """Promise 1: a second copy may not come of a start in a state whose tree is not known to be empty."""
    assert isinstance(transition(state, E.START_ASKED), Ignored)
    assert isinstance(transition(state, E.BACKOFF_ELAPSED), Ignored)


@pytest.mark.parametrize("state", sorted(UP))
def test_a_start_of_what_is_up_is_ignored(state: State) -> None:
    assert isinstance(transition(state, E.START_ASKED), Ignored)


@pytest.mark.parametrize("event", [E.STOP_ASKED, E.KILL_ASKED])
def test_a_stop_always_leads_away_from_running(event: Event) -> None:
    """Promise 2: wherever a run of ours is or is planned, a stop has an effect, unless nothing can be found to stop."""
    for state in (S.STARTING, S.RUNNING, S.BACKOFF):
        assert transition(state, event) in (S.STOPPING, S.STOPPED)
    assert not isinstance(transition(S.STOPPING, E.KILL_ASKED), Ignored), "a kill escalates a stop"
    assert isinstance(transition(S.LOST, event), Ignored)


def test_nothing_leaves_lost_by_being_started() -> None:
    assert {event for event in Event if not isinstance(transition(S.LOST, event), Ignored)} == {
        E.ENDED_BY_ITSELF,
        E.ENDED_AFTER_STOP,
        E.RESET_ASKED,
        E.FOUND_ALIVE,
    }


def test_only_a_start_or_a_find_leaves_stopped() -> None:
    """After a person's stop no late event of the old run, and no restart of the policy, brings it back."""
    leaving = {event for event in Event if not isinstance(transition(S.STOPPED, event), Ignored)}
    assert leaving == {E.START_ASKED, E.FOUND_ALIVE, E.LOST}


def test_what_is_live_cannot_be_removed() -> None:
    assert not LIVE & REMOVABLE
    assert S.BACKOFF not in REMOVABLE


def test_a_life_from_start_to_end() -> None:
    state: State | Ignored = S.STOPPED
    story = [
        (E.START_ASKED, S.STARTING),
        (E.SPAWNED, S.STARTING),
        (E.ALIVE_LONG_ENOUGH, S.RUNNING),
        (E.LEADER_EXITED, S.RUNNING),
        (E.RESTART_PLANNED, S.BACKOFF),
        (E.BACKOFF_ELAPSED, S.STARTING),
        (E.ALIVE_LONG_ENOUGH, S.RUNNING),
        (E.ENDED_BY_ITSELF, S.EXITED),
        (E.GAVE_UP, S.FATAL),
        (E.RESET_ASKED, S.STOPPED),
    ]
    for event, expected in story:
        assert isinstance(state, State)
        state = transition(state, event)
        assert state == expected


@given(st.lists(st.sampled_from(sorted(Event)), max_size=60))
def test_no_history_ends_outside_the_table_and_a_reset_or_stop_always_leads_back(events: list[Event]) -> None:
    state = S.STOPPED
    for event in events:
        answer = transition(state, event)
        state = answer if isinstance(answer, State) else state
    for event in (E.STOP_ASKED, E.ENDED_AFTER_STOP, E.RESET_ASKED):
        answer = transition(state, event)
        state = answer if isinstance(answer, State) else state
    assert state == S.STOPPED
