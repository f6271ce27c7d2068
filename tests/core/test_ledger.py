"""The ledger: what is counted, what is kept of it, and what can be told from that."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.model.ledger import (
    HOURS,
    MINUTES,
    NAMES,
    Books,
    Ledger,
    Snapshot,
    Snapshots,
    Tally,
    balance,
    buckets,
    difference,
    minute_of,
    row_of,
    thinned,
    totals_at,
)
from stanchion.model.states import FIRST, MOVES, ROWS, Event, State

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BORN = (None, Event.ENQUEUE, State.QUEUED)
CLAIMED = (State.QUEUED, Event.CLAIM, State.RUNNING)
DONE = (State.RUNNING, Event.COMPLETE, State.COMPLETED)


class Clerk:
    """Keeps a ledger as a backend in this process does."""

    def __init__(self):
        self.ledger, self.snapshots = Ledger(), Snapshots()

    def count(self, row, at, **counted):
        self.snapshots.keep(self.ledger.count(*row, at, **counted))
        return self

    def books(self, now, since=START - 100 * DAY):
        return Books(
            now=now,
            minute=self.ledger.minute,
            totals=dict(self.ledger.totals),
            snapshots=self.snapshots.read(since),
        )


# Rows


def test_every_move_that_changes_the_state_is_a_row():
    """And births, quarantine and restoring."""
    moves = {
        (state, event, to)
        for state, events in MOVES.items()
        for event, targets in events.items()
        for to in targets
        if to is not state
    }

    assert {row for row in ROWS if row[1] not in (Event.ENQUEUE, Event.QUARANTINE, Event.RESTORE)} == moves
    assert {row[2] for row in ROWS if row[1] is Event.ENQUEUE} == FIRST
    assert {row[0] for row in ROWS if row[1] is Event.QUARANTINE} == set(State)
    assert {row[2] for row in ROWS if row[1] is Event.RESTORE} == set(State)


def test_rows_have_names_that_lead_back():
    """Each its own; `-` stands for absence."""
    assert NAMES[CLAIMED] == "queued.claim.running"
    assert NAMES[BORN] == "-.enqueue.queued"
    assert NAMES[(State.FAILED, Event.EXPIRE, None)] == "failed.expire.-"
    assert {row: row_of(name) for row, name in NAMES.items()} == {row: row for row in ROWS}
    assert row_of("queued.explode.running") is None


# Counting


def test_each_counting_adds_to_its_row():
    """Jobs and the time that they had spent."""
    clerk = Clerk()
    clerk.count(BORN, START, jobs=3)
    clerk.count(CLAIMED, START, jobs=2, ms=70)
    clerk.count(CLAIMED, START, ms=5)

    assert clerk.ledger.totals == {
        "-.enqueue.queued": Tally(3, 0),
        "queued.claim.running": Tally(3, 75),
    }


def test_what_stays_in_its_state_is_not_counted():
    """Nor does it begin a new minute."""
    clerk = Clerk().count(BORN, START)
    clerk.count((State.RUNNING, Event.BEAT, State.RUNNING), START + HOUR)

    assert list(clerk.ledger.totals) == ["-.enqueue.queued"]
    assert (clerk.ledger.minute, clerk.snapshots.kept) == (minute_of(START), [])


def test_what_is_no_row_is_a_bug():
    """The table knows of no such move."""
    with pytest.raises(KeyError):
        Ledger().count(State.QUEUED, Event.COMPLETE, State.COMPLETED, START)


# Snapshots


def test_a_snapshot_is_taken_when_a_new_minute_begins():
    """Of what had been counted before; within a minute there is none."""
    clerk = Clerk()
    clerk.count(BORN, START)
    clerk.count(BORN, START + 59.9 * MINUTE / 60)
    within = list(clerk.snapshots.kept)
    clerk.count(BORN, START + MINUTE)

    assert within == []
    assert clerk.snapshots.kept == [Snapshot(minute_of(START), {"-.enqueue.queued": Tally(2, 0)})]


def test_a_clock_that_steps_back_takes_no_snapshot():
    """It is counted with the minute that was reached."""
    clerk = Clerk().count(BORN, START + HOUR)
    clerk.count(BORN, START)
    clerk.count(BORN, START + HOUR)

    assert (clerk.snapshots.kept, clerk.ledger.minute) == ([], minute_of(START + HOUR))


def test_a_snapshot_is_not_changed_by_what_is_counted_later():
    """It has totals of its own."""
    clerk = Clerk().count(BORN, START).count(BORN, START + MINUTE).count(BORN, START + MINUTE)

    assert clerk.snapshots.kept[0].totals == {"-.enqueue.queued": Tally(1, 0)}


def test_snapshots_are_read_since_an_instant():
    """And the last one before, from which the first difference is made."""
    clerk = Clerk()
    for number in range(5):
        clerk.count(BORN, START + number * MINUTE)

    def minutes(since):
        return [one.minute - minute_of(START) for one in clerk.snapshots.read(since)]

    assert minutes(None) == minutes(START - DAY) == minutes(START) == [0, 1, 2, 3]
    assert minutes(START + 2 * MINUTE) == [1, 2, 3]
    assert minutes(START + DAY) == [3]


# Thinning


def a_snapshot(minute):
    return Snapshot(minute, {"-.enqueue.queued": Tally(minute, 0)})


def test_minutes_are_kept_for_two_days_and_hours_for_ninety():
    """Of an hour that is over, the last snapshot stays."""
    last = 100 * 24 * 60
    kept = thinned([a_snapshot(minute) for minute in range(last)], last)
    minutes = [one.minute for one in kept]
    young = [minute for minute in minutes if minute > last - MINUTES // MINUTE]
    old = [minute for minute in minutes if minute <= last - MINUTES // MINUTE]

    assert young == list(range(last - MINUTES // MINUTE + 1, last))
    assert all(minute % 60 == 59 for minute in old[1:])
    assert len(old) == (HOURS - MINUTES) // HOUR + 1  # and the last one before


@given(minutes=st.sets(st.integers(0, 95 * 24 * 60), max_size=60), later=st.integers(0, 100 * 24 * 60))
def test_thinning_keeps_the_last_of_each_hour_and_can_be_repeated(minutes, later):
    """Whatever minutes there are: of those too old only the last is kept, and thinning again changes nothing."""
    snapshots = [a_snapshot(minute) for minute in sorted(minutes)]
    now = max(minutes, default=0) + later
    kept = thinned(snapshots, now)
    oldest = now - HOURS // MINUTE

    assert {one.minute // 60 for one in kept if one.minute > oldest} == {
        minute // 60 for minute in minutes if minute > oldest
    }
    assert [one.minute for one in kept if one.minute <= oldest] == sorted(
        minute for minute in minutes if minute <= oldest
    )[-1:]
    assert [one for one in snapshots if one.minute > now - MINUTES // MINUTE] == [
        one for one in kept if one.minute > now - MINUTES // MINUTE
    ]
    assert thinned(kept, now) == kept


def test_what_is_kept_is_bounded():
    """However long a queue is used."""
    clerk = Clerk()
    for number in range(0, 30 * 24 * 60, 7):
        clerk.count(BORN, START + number * MINUTE)

    assert len(clerk.snapshots.kept) <= MINUTES // MINUTE + HOURS // HOUR + 2


# What can be told


def test_the_totals_at_an_instant_are_those_before_its_minute():
    """Now and later: the present ones; before the first counting: none."""
    clerk = Clerk().count(BORN, START).count(BORN, START + MINUTE).count(BORN, START + 3 * MINUTE)
    books = clerk.books(START + 4 * MINUTE)

    def at(minutes):
        return totals_at(books, START + minutes * MINUTE).get("-.enqueue.queued", Tally()).jobs

    assert [at(minutes) for minutes in (-5, 0, 1, 2, 3, 4, 9)] == [0, 0, 1, 2, 2, 3, 3]


def test_a_difference_has_what_was_counted_in_between():
    """Rows that were not taken are left out."""
    before = {"-.enqueue.queued": Tally(3, 0), "queued.claim.running": Tally(1, 7)}
    after = {**before, "queued.claim.running": Tally(4, 9), "running.complete.completed": Tally(1, 5)}

    assert difference(after, before) == {
        "queued.claim.running": Tally(3, 2),
        "running.complete.completed": Tally(1, 5),
    }
    assert difference(after, after) == {}


def test_buckets_over_minutes():
    """Empty ones as well; the last one may be shorter."""
    clerk = (
        Clerk()
        .count(BORN, START, jobs=2)
        .count(BORN, START + 90 * MINUTE / 60)
        .count(BORN, START + 3 * MINUTE)
    )
    now = START + 3.5 * MINUTE
    found = buckets(clerk.books(now), START, now, MINUTE)

    assert [one.totals.get("-.enqueue.queued", Tally()).jobs for one in found] == [2, 1, 0, 1]
    assert [(one.until - one.since) / MINUTE for one in found] == [1, 1, 1, 0.5]
    assert (found[0].since, found[-1].until) == (START, now)


def test_buckets_over_hours_long_ago():
    """Minutes are forgotten by then, hours are not."""
    clerk = Clerk()
    for number in range(10 * 24 * 6):
        clerk.count(BORN, START + number * 10 * MINUTE)
    now = START + 10 * DAY
    found = buckets(clerk.books(now), START, START + DAY, HOUR)

    assert [one.totals["-.enqueue.queued"].jobs for one in found] == [6] * 24


COUNTINGS = st.lists(
    st.tuples(
        st.sampled_from(sorted(ROWS, key=NAMES.__getitem__)),
        st.integers(0, 600),
        st.integers(1, 5),
        st.integers(0, 99),
    ),
    max_size=30,
)


@given(countings=COUNTINGS, steps=st.integers(1, 7))
def test_buckets_add_up_to_what_was_counted(countings, steps):
    """Whatever was counted when, and however long they are."""
    clerk, now = Clerk(), START
    for row, seconds, jobs, ms in countings:
        now += timedelta(seconds=seconds)
        clerk.count(row, now, jobs=jobs, ms=ms)
    now += MINUTE
    books = clerk.books(now)
    found = buckets(books, START, now, steps * MINUTE)
    summed = {}
    for bucket in found:
        for name, tally in bucket.totals.items():
            was = summed.get(name, Tally())
            summed[name] = Tally(was.jobs + tally.jobs, was.ms + tally.ms)

    assert summed == books.totals


@given(countings=COUNTINGS)
def test_totals_at_each_minute_are_what_was_counted_before_it(countings):
    """Compared with counting again from the beginning."""
    clerk, now, log = Clerk(), START, []
    for row, seconds, jobs, _ in countings:
        now += timedelta(seconds=seconds)
        clerk.count(row, now, jobs=jobs)
        log.append((now, NAMES[row], jobs))
    books = clerk.books(now)
    for minute in range(15):
        at = min(START + minute * MINUTE, now)
        if at == now:
            break
        expected = {}
        for when, name, jobs in log:
            if when < at:
                expected[name] = expected.get(name, 0) + jobs

        assert {name: tally.jobs for name, tally in totals_at(books, at).items()} == expected


# Balance


def test_moves_in_minus_moves_out_are_the_jobs_there():
    """For every state."""
    clerk = Clerk().count(BORN, START, jobs=5).count(CLAIMED, START, jobs=3).count(DONE, START)
    inside = balance(clerk.ledger.totals)

    assert {state: jobs for state, jobs in inside.items() if jobs} == {
        State.QUEUED: 2,
        State.RUNNING: 2,
        State.COMPLETED: 1,
    }
    assert set(inside) == set(State)


def test_rows_of_a_later_version_are_left_out():
    """What they mean is not known here."""
    assert balance({"queued.explode.running": Tally(1, 0)}) == dict.fromkeys(State, 0)


@given(choices=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), max_size=60))
def test_the_balance_holds_for_any_lives(choices):
    """Jobs that go any way through the table, one step after the other."""
    clerk, jobs = Clerk(), [None] * 4
    for number, choice in choices:
        ways = [row for row in sorted(ROWS, key=NAMES.__getitem__) if row[0] is jobs[number]]
        row = ways[choice % len(ways)]
        clerk.count(row, START)
        jobs[number] = row[2]

    assert balance(clerk.ledger.totals) == {state: jobs.count(state) for state in State}
