"""The state machine, walked as a whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from stanchion.model.states import FINAL, FIRST, GONE, MOVES, ROWS, Event, State

ROOT = Path(__file__).parents[2]
PAIRS = [(state, event) for state in State for event in Event]
LEAVE_A_FINAL_STATE = {Event.RETRY, Event.DELETE, Event.EXPIRE}


def test_every_state_has_a_row():
    """A state without moves would be written down as such, not left out."""
    rows = set(MOVES)

    assert rows == set(State)


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_every_pair_is_a_row_with_targets_or_is_refused(state, event):
    """An empty set of targets would be neither."""
    targets = MOVES[state].get(event)

    assert targets is None or (targets and targets <= {*State, GONE})


@pytest.mark.parametrize("event", Event)
def test_every_event_happens_somewhere(event):
    """An event without a row is a word too many."""
    there = {event for events in MOVES.values() for event in events}

    assert event in there | {row[1] for row in ROWS}


@pytest.mark.parametrize("state", sorted(FINAL))
def test_only_retry_delete_and_expire_leave_a_final_state(state):
    """Final states are final."""
    events = set(MOVES[state])

    assert events == LEAVE_A_FINAL_STATE
    assert MOVES[state][Event.RETRY] == {State.QUEUED}


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_only_final_jobs_expire(state):
    """A job that still waits for something is never deleted by time."""
    events = MOVES[state]

    assert Event.EXPIRE not in events


def test_a_running_job_is_never_deleted():
    """Its handler would go on for a job that does not exist."""
    targets = set().union(*MOVES[State.RUNNING].values())

    assert GONE not in targets


def test_every_state_is_reached_from_where_jobs_begin():
    """No state is written down that no job can be in."""
    reached, ahead = set(), set(FIRST)
    while ahead:
        reached |= ahead
        ahead = (
            set().union(*(targets for state in ahead for targets in MOVES[state].values())) - reached - {GONE}
        )

    assert reached == set(State)


@pytest.mark.parametrize("state", State)
def test_every_state_leads_to_an_end(state):
    """From every state there is a way into a final one."""
    reached = {state}
    for _ in State:
        reached |= set().union(*(targets for one in reached - {GONE} for targets in MOVES[one].values()))

    assert reached & FINAL


def test_the_page_in_the_docs_is_made_from_the_table():
    """`docs/states.md` shows the machine as it is; `python docs/states.py` writes it anew."""
    script = ROOT / "docs" / "states.py"
    check = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)

    assert (check.returncode, check.stderr) == (0, "")
