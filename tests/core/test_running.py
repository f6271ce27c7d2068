"""What a handler sees of its job, and what it may say of it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from stanchion import Cancel, Fail, Retry, Snooze, StanchionError, current_job
from stanchion.context import LOGGED, Progress, RunningJob, StopReason
from stanchion.errors import InvalidArgument, PayloadError, Stopped
from stanchion.model.policies import Policy
from stanchion.model.states import State
from support.factories import a_record
from support.waiting import eventually

NAN = float("nan")
INSTANT = datetime(2026, 1, 1, tzinfo=UTC)


def a_job(**fields):
    return RunningJob(a_record(State.RUNNING, **fields), Policy(retries=2))


def test_a_handler_sees_its_job():
    """Its id, its task, and which start and attempt this is."""
    job = a_job(run=5, counters={"attempts": 1, "lost": 3})

    assert (job.id, job.task, job.run, job.attempt) == ("mail:1", "welcome", 5, 2)
    assert repr(job) == "<RunningJob mail:1 run 5, attempt 2 of 3>"


def test_there_is_no_job_outside_of_a_handler():
    """The error says where there is one."""
    with pytest.raises(StanchionError, match="can only be called inside a handler$"):
        current_job()


@pytest.mark.parametrize(
    "write",
    [lambda job: job.log("one"), lambda job: job.progress(0.5), lambda job: job.save(None)],
    ids=["log", "progress", "save"],
)
def test_whatever_a_handler_writes_is_news(write):
    """Each alone is sent while the handler runs."""
    job = a_job()
    before = job.unsent.has_news
    write(job)

    assert (before, job.unsent.has_news) == (False, True)


def test_what_a_handler_writes_is_taken_once():
    """The last progress and the last saved data, and all lines of the log as one entry."""
    job = a_job()
    job.progress(0.5)
    job.progress(1, "done")
    job.save({"at": 7})
    job.log("one")
    job.log("two")
    notes, append = job.unsent.take()

    assert msgspec.json.decode(notes["progress"], type=Progress) == Progress(1.0, "done")
    assert (notes["saved"], append) == (b'{"at":7}', {"log": b"one\ntwo"})
    assert not job.unsent.has_news
    job.unsent.sent()
    assert (job.unsent.has_news, job.unsent.take(), job.unsent.take_all()) == (False, ({}, {}), ({}, {}))


def test_what_could_not_be_sent_is_put_back():
    """What was written since then goes before it, or behind it in the log."""
    job = a_job()
    job.progress(0.1)
    job.save("old")
    job.log("one")
    job.unsent.take()
    job.progress(0.2)
    job.log("two")
    job.unsent.put_back()
    notes, append = job.unsent.take()

    assert msgspec.json.decode(notes["progress"]) == {"done": 0.2}
    assert (notes["saved"], append["log"]) == (b'"old"', b"one\ntwo")


def test_an_outcome_takes_what_may_not_have_been_sent():
    """A beat was under way when the handler ended, and may come too late: better a line of the log twice than lost."""
    job = a_job()
    job.save("with the beat")
    job.log("one")
    job.unsent.take()
    job.log("two")

    assert job.unsent.take_all() == ({"saved": b'"with the beat"'}, {"log": b"one\ntwo"})
    job.unsent.put_back()
    assert job.unsent.take_all() == ({}, {})


def test_what_was_saved_can_be_read_after_it_was_sent():
    """In the same run."""
    job = a_job(notes={"saved": b"1"})
    job.save(2)
    job.unsent.take()
    job.unsent.sent()

    assert job.saved() == 2


def test_of_too_long_a_log_the_newest_lines_are_sent():
    """What was logged last is what happened last."""
    job = a_job()
    for number in range(50):
        job.log(f"{number:02}" + "x" * (LOGGED // 10))
    log = job.unsent.take()[1]["log"]

    assert len(log) == LOGGED
    assert [line[:2] for line in log.split(b"\n")[-9:]] == [b"%d" % number for number in range(41, 50)]


def test_saved_data_is_there_for_the_next_attempt():
    """By its type, and as it was saved last."""
    job = a_job(notes={"saved": b'"PT5S"'})
    earlier = job.saved(timedelta)
    job.save(7)

    assert (earlier, job.saved(int), a_job().saved()) == (timedelta(seconds=5), 7, None)


@pytest.mark.parametrize("done", [-0.1, 1.1, NAN, True, "half", None])
def test_progress_is_a_number_from_0_to_1(done):
    """Nothing is written otherwise."""
    job = a_job()

    with pytest.raises(InvalidArgument, match="progress must be a number from 0 to 1"):
        job.progress(done)
    assert not job.unsent.has_news


@pytest.mark.parametrize("write", [lambda job: job.progress(0.5, 5), lambda job: job.log(b"line")])
def test_messages_and_lines_are_texts(write):
    """Others are refused where they are written."""
    with pytest.raises(InvalidArgument, match="must be a string, not"):
        write(a_job())


def test_texts_are_bounded_and_can_be_stored():
    """However long, and whatever is in them."""
    job = a_job()
    job.progress(0.5, "\ud800")
    job.log("x" * 10_000)
    for _ in range(200):
        job.log("y")
    notes, append = job.unsent.take()

    assert msgspec.json.decode(notes["progress"])["message"] == "\\ud800"
    assert append["log"] == b"\n".join([b"y"] * 100)


def test_data_that_has_no_json_is_not_saved():
    """As with arguments and results."""
    with pytest.raises(PayloadError, match="cannot store saved data as JSON"):
        a_job().save(object())


def test_a_handler_is_told_to_stop():
    """Whether it looks or waits."""
    job = a_job()
    before = (job.should_stop, job.stop_reason, job.wait_stop(0))
    job.check()
    job.stop(StopReason.SHUTDOWN)
    job.stop(StopReason.CANCEL)

    assert before == (False, None, False)
    assert (job.should_stop, job.wait_stop(60), job.wait_stop(timedelta(minutes=1))) == (True, True, True)
    assert job.stop_reason == "shutdown"
    with pytest.raises(Stopped, match=f"job {job.id} was asked to stop: shutdown"):
        job.check()


def test_a_handler_that_waits_is_woken():
    """In its thread, by whoever asks it to stop."""
    job = a_job()
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(job.wait_stop, 60)
        eventually(lambda: job._stopped is not None)
        job.stop(StopReason.CANCEL)

        assert waiting.result(10)


# Outcomes


@pytest.mark.parametrize(
    ("outcome", "value"),
    [
        (Retry(5).after, timedelta(seconds=5)),
        (Snooze(5).until, timedelta(seconds=5)),
        (Snooze(INSTANT).until, INSTANT),
        (Fail("\ud800").reason, "\\ud800"),
        (len(Cancel("x" * 100_000).reason), 4096),
    ],
)
def test_an_outcome_says_what_shall_become_of_the_job(outcome, value):
    """In units, and texts, that every store can hold."""
    assert outcome == value


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(-1),
        lambda: Retry(NAN),
        lambda: Retry(None),
        lambda: Retry(5, 5),
        lambda: Snooze(True),
        lambda: Snooze(float("inf")),
        lambda: Snooze(datetime(2026, 1, 1)),  # noqa: DTZ001 - what this is about
        lambda: Snooze(datetime(9999, 1, 1, tzinfo=UTC)),
        lambda: Cancel(5),
        lambda: Fail(None),
    ],
)
def test_a_bad_outcome_is_refused(make):
    """Where it is made: the handler's attempt fails with it, and the job does not hang."""
    with pytest.raises(InvalidArgument):
        make()
