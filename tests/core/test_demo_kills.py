"""The arithmetic of `stanchion demo --kill`, on records that are made up."""

from datetime import timedelta
from io import StringIO

from rich.console import Console

from stanchion import State
from stanchion.model.history import HistoryEntry
from stanchion.model.records import Entry, Record
from stanchion_demo.face import draw
from stanchion_demo.kill import LONGEST_PACE, SPAN, pace_for
from stanchion_demo.kills import Kill, KillSummary, LedgerSummary, Recovery, run_started, waits, with_kills
from stanchion_demo.report import FileFailure, Summary
from support.factories import NOW, a_record


def after(seconds: float) -> object:
    """An instant so many seconds after the beginning of everything."""
    return NOW + timedelta(seconds=seconds)


def a_job(name: str, *starts: float) -> Record:
    """A completed job that was started at these seconds, and lost each time but the last."""
    *lost, last = starts
    history = [
        HistoryEntry(
            event="lose", to="queued", by="", run=number, started_ms=round(after(start).timestamp() * 1000)
        )
        for number, start in enumerate(lost, 1)
    ]
    entries = tuple(Entry(at=NOW, data=one.encode()) for one in history)
    return a_record(
        State.COMPLETED, id=name, run=len(starts), started_at=after(last), lists={"history": entries}
    )


def a_kill(at: float, **held: int) -> Kill:
    """A killed worker that held these runs."""
    return Kill(at=after(at), held=held)


def a_summary(**fields: object) -> Summary:
    """Three files that were read."""
    usual = {
        "files": 3,
        "earlier": 0,
        "completed": 3,
        "bytes": 18,
        "lines": 4,
        "slowest": [],
        "failures": [],
        "missing": [],
        "unlisted": [],
        "seconds": 12.0,
        "tasks": {},
    }
    return Summary(**{**usual, **fields})


def a_kill_summary(**fields: object) -> KillSummary:
    """Two kills hit two of three jobs, one of them twice."""
    records = {"a": a_job("a", 0), "b": a_job("b", 0.5, 6), "c": a_job("c", 0, 6, 13)}
    kills = [a_kill(1, b=1, c=1), a_kill(7, c=2)]
    return with_kills(
        a_summary(**fields),
        records,
        kills,
        workers=3,
        pace=0.1,
        enqueued=3,
        ledger=LedgerSummary(moves=9, balanced=True),
    )


def drawn(summary: Summary) -> list[str]:
    """What is printed of a summary, its columns one space apart."""
    output = StringIO()
    draw(Console(file=output, width=120), summary)
    return [" ".join(line.split()) for line in output.getvalue().splitlines()]


def test_each_run_of_a_job_has_its_start() -> None:
    """Earlier ones are found in the history, the last one in the head; one that never was has none."""
    job = a_job("a", 1.25, 7, 13.5)

    assert [run_started(job, run) for run in (1, 2, 3, 4)] == [after(1.25), after(7), after(13.5), None]


def test_an_entry_about_no_run_is_no_start() -> None:
    """A history also tells what was asked for from outside."""
    entry = Entry(at=NOW, data=HistoryEntry(event="update", to="queued", by="somebody", run=1).encode())
    job = a_record(State.QUEUED, run=2, lists={"history": (entry,)})

    assert run_started(job, 1) is None


def test_a_wait_lasts_from_the_kill_to_the_next_start() -> None:
    """Each kill counts for each job it hit."""
    records = {"a": a_job("a", 0, 6, 12.5), "b": a_job("b", 0.5, 6.5)}

    assert list(waits([a_kill(1, a=1, b=1), a_kill(7, a=2)], records)) == [5.0, 5.5, 5.5]


def test_a_job_that_was_not_started_again_did_not_wait() -> None:
    """Its worker had told the store of its end before it died, or its record is gone."""
    assert list(waits([a_kill(1, a=1, gone=1)], {"a": a_job("a", 0)})) == []


def test_least_median_and_most() -> None:
    """In seconds, to the millisecond."""
    assert Recovery.of([5.5, 4.0006, 5.0]) == Recovery(jobs=3, least=4.001, median=5.0, most=5.5)


def test_of_no_waits_there_is_nothing_to_say() -> None:
    """No zeros are made up."""
    assert Recovery.of([]) is None


def test_starts_beyond_the_first_are_counted() -> None:
    """By job, and altogether."""
    summary = a_kill_summary()

    assert (summary.kills, summary.held) == (2, 3)
    assert (summary.run_again, summary.extra_starts) == (2, 3)
    assert summary.recovery == Recovery(jobs=3, least=5.0, median=5.0, most=6.0)
    assert (summary.lost, summary.whole) == ([], True)


def test_a_file_without_a_job_is_lost() -> None:
    """Then not all is well."""
    summary = a_kill_summary(completed=2, missing=["a.txt"])

    assert (summary.lost, summary.whole) == (["a.txt"], False)


def test_a_job_that_was_given_up_is_lost() -> None:
    """It is accounted for, but its file was not read, and no fault of its own is the reason."""
    summary = a_kill_summary(completed=2, failures=[FileFailure(path="a.txt", cause="lost")])

    assert (summary.lost, summary.whole) == (["a.txt"], False)


def test_a_file_that_cannot_be_read_is_not_lost() -> None:
    """Its job said why."""
    summary = a_kill_summary(completed=2, failures=[FileFailure(path="a.txt", cause="PermissionError: no")])

    assert (summary.lost, summary.whole) == ([], True)


def test_what_is_printed() -> None:
    """Every number of the report, each in a line of its own."""
    lines = drawn(a_kill_summary())

    assert lines[4:] == [
        "time 12.0 s each file was held 100.0 ms longer than reading it took, so that this lasts",
        "",
        "enqueued 3",
        "completed 3",
        "kills 2 3 jobs were being run by the killed workers",
        "run more than once 2 that is 3 starts beyond each job's first",
        "lost 0 every file of the directory is accounted for",
        "ledger 9 moves, balanced: moves in minus moves out are the jobs there, in every state",
        "recovery 5.0 s median; 5.0 s to 6.0 s from a kill to the next start of a job it hit",
    ]


def test_what_is_lost_is_printed() -> None:
    """And nobody claims the contrary."""
    assert "lost 1 not accounted for" in drawn(a_kill_summary(missing=["a.txt"]))


def test_the_work_lasts_whatever_there_is_to_read() -> None:
    """The pace keeps all slots busy for the same time, unless a few files would be held for too long."""
    assert pace_for(2000, 30) * 2000 / 30 == SPAN
    assert pace_for(3, 30) == pace_for(0, 30) == LONGEST_PACE
