"""The stories under test: they find a planted bug, cut it down, and can be repeated."""

import inspect
import re
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from stanchion.contract.requests import Apply
from stanchion.model.changes import UNCHANGED, Applied, Change, Refused
from stanchion.model.history import HistoryEntry
from stanchion.model.records import Entry, Record
from stanchion.model.states import State
from stanchion_conformance import fates, oracle
from stanchion_conformance.invariants import reverted, unlived
from stanchion_conformance.stories import Stories
from stanchion_conformance.volume import CHAPTER, play
from stanchion_memory.backend import MemoryBackend
from stanchion_testing.clock import VirtualClock
from support.factories import NOW, a_record


class Forgetful(MemoryBackend):
    """Forgets that a caller asked to cancel a running job."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        return super().apply(Apply([_without_request(change) for change in request.changes]))


def _without_request(change: Change) -> Change:
    if change.state is not State.RUNNING:
        return change
    return replace(change, move=replace(change.move, cancel=UNCHANGED))


def a_failure(**given: Any) -> AssertionError:
    """How playing stories on the forgetful backend ends."""
    clock = VirtualClock()
    with pytest.raises(AssertionError) as failed:
        play(Forgetful(clock=clock), clock, CHAPTER, **given)
    return failed.value


def timeless(words: str) -> str:
    """Return words without instants: one clock serves all stories of a run."""
    return re.sub(r"datetime\.datetime\([^)]*\)", "then", words)


def the_words_of(error: BaseException) -> str:
    return "\n".join([str(error), *error.__notes__])


@pytest.fixture(scope="module")
def failure() -> str:
    """What is said of a story that goes wrong."""
    return the_words_of(a_failure(seed="1"))


def test_a_planted_bug_is_found_and_its_story_is_short(failure: str) -> None:
    """A caller asks to cancel a running job, and little else is done."""
    steps = re.findall(r"^state\.(\w+)", failure, re.MULTILINE)

    assert re.search(r"^(the answer|\w+:\w+), cancel: None instead of {'reason': '", failure)
    assert re.search(r"^    # \w+:\w+: running, cancel -> running$", failure, re.MULTILINE)
    assert len([step for step in steps if step not in ("agree", "teardown")]) < 6


def test_a_failure_says_how_to_repeat_its_story(failure: str) -> None:
    """All stories by their seed, this one by Hypothesis's blob."""
    assert "\nTo repeat all of these stories: --hypothesis-seed=1\n" in failure
    assert re.search(r"\nTo repeat this story: --stanchion-replay=\S+", failure)
    assert "@reproduce_failure(" in failure


def test_one_story_is_repeated(failure: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The blob leads over the same steps to the same words."""
    again = a_failure(blob=failure.rpartition("--stanchion-replay=")[2])

    assert timeless(str(again)) == timeless(failure.partition("\nFailing")[0])
    assert timeless(capsys.readouterr().out.strip()) in timeless(failure)


def test_the_same_seed_plays_the_same_stories() -> None:
    """In another store, at another time."""
    clocks = [VirtualClock(), VirtualClock(NOW)]
    first, second = (play(MemoryBackend(clock=clock), clock, CHAPTER, seed="7") for clock in clocks)

    assert vars(first) == vars(second)


def test_the_oracle_asks_nobody() -> None:
    """It has the rules from nowhere else."""
    asked = {
        "MOVES",
        "FINAL",
        "FIRST",
        "decide",
        "signal_for",
        "first_refusal",
        "apply_change",
        "create_record",
        "promote_record",
        "claim_record",
        "spent",
        "is_selected",
        "Ledger",
        "balance",
    }
    source = inspect.getsource(oracle) + inspect.getsource(fates)
    used = set(re.findall(r"\w+", re.sub(r'""".*?"""|"\w+"', "", source, flags=re.DOTALL)))

    assert asked & used == set()


def test_without_hypothesis_the_stories_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the reason says what to install."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    nothing: Any = None

    with pytest.raises(pytest.skip.Exception, match=re.escape("pip install 'stanchion[conformance]'")):
        Stories().test_every_story_goes_as_the_oracle_says(nothing, nothing, nothing, nothing)


def test_a_run_plays_more_stories_if_asked_and_says_what_they_came_to(pytester: pytest.Pytester) -> None:
    """The option is a factor, and the run ends with a line for each backend."""
    pytester.makepyfile(
        """
        import pytest
        from stanchion_conformance.stories import Stories
        from stanchion_memory import MemoryBackend

        class TestMine(Stories):
            STORIES = 1

            @pytest.fixture
            def backend(self, clock):
                return MemoryBackend(clock=clock)
        """
    )
    lines = pytester.runpytest_subprocess("--stanchion-stories=20").outlines

    (said,) = (line for line in lines if "rows of the table taken" in line)
    told = re.search(
        r"::TestMine: (\d+) stories of \d+ steps; .* taken: (\d+) of \2; .* refused: (\d+) of \3", said
    )
    assert told, said
    assert int(told[1]) > 20


def a_life(*steps: tuple[str, str], **fields: Any) -> Record:
    """A job with a history: what happened, and the state it led to."""
    entries = [HistoryEntry(event=event, to=to, by="a caller").encode() for event, to in steps]
    return a_record(lists={"history": tuple(Entry(at=NOW, data=data) for data in entries)}, **fields)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (a_life(run=1), "was started 1 times, and 0 runs ended or go on"),
        (a_life(counters={"attempts": 5}), "used up 5 attempts of 4"),
        (a_life(counters={"lost": 5}), "was lost 5 times and may be 3"),
        (
            a_life(("fail", "failed"), ("complete", "completed")),
            "was failed, and then complete made it completed",
        ),
        (a_life(("update", "blocked"), state=State.FAILED, run=0), "was blocked and is failed"),
    ],
)
def test_a_life_that_cannot_have_been_is_named(job: Record, words: str) -> None:
    """Each of the ways in which a job's record can contradict the table or its policy."""
    assert any(words in one for one in unlived(job)), list(unlived(job))


def test_a_life_that_can_have_been_has_nothing_to_be_named() -> None:
    """Promotions and claims leave no entry."""
    job = a_life(("update", "scheduled"), state=State.RUNNING)

    assert list(unlived(job)) == []


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"run": 0}, "went back from run 1"),
        ({"claim": "claim-2"}, "is held by claim-2 in a run that it did not start"),
        ({"due_at": NOW}, "the lease on mail:1 went back"),
        ({"lists": {}}, "the history of mail:1 was rewritten"),
    ],
)
def test_what_only_grows_is_named_when_it_shrinks(after: dict[str, Any], words: str) -> None:
    """Runs, claims, leases and lists."""
    before = a_life(("update", "queued"), state=State.RUNNING)

    assert any(words in one for one in reverted(before, replace(before, **after)))
    assert list(reverted(before, before)) == []
