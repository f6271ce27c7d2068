"""The stage: what a story needs, and how backend and oracle are compared after every step."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, TypeVar, cast

from hypothesis import currently_in_test_context, note
from hypothesis.stateful import RuleBasedStateMachine, invariant
from msgspec.structs import replace

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Forget
from stanchion.engine.engine import Engine
from stanchion.errors import StanchionError, Unavailable
from stanchion.model.changes import Change, Move
from stanchion.model.records import Head, Record
from stanchion.model.states import Event, State
from stanchion.plugins.manager import Plugins
from stanchion_conformance.comparing import Found, Seen, differences, glance, look, unlike
from stanchion_conformance.drawing import LED, QUEUES
from stanchion_conformance.fates import Edge, No
from stanchion_conformance.invariants import amiss, findings, read, reverted, unlived
from stanchion_conformance.oracle import Oracle
from stanchion_testing.clock import VirtualClock

T = TypeVar("T")

_WRITES: Final = ("insert", "claim", "apply", "configure", "forget")
_stories: Final = count(1)


class Coverage:
    """What all stories of a test came to."""

    def __init__(self) -> None:
        self.stories = 0
        self.steps = 0
        self.edges: Counter[Edge] = Counter()
        """How often each row of the table was taken."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """How often each event that a state does not allow was refused."""


class Line:
    """The way to a backend, on which the next request or the next answer can be lost."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.loses: str | None = None
        self.repeated = False
        """Whether the last write was made twice, because the first answer was lost."""

    def __getattr__(self, verb: str) -> Any:
        made = getattr(self._backend, verb)
        return partial(self._write, made) if verb in _WRITES else made

    def _write(self, made: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        lost, self.loses = self.loses, None
        if lost is None:
            return made(*args, **kwargs)
        if lost == "answer":
            self.repeated = True
            made(*args, **kwargs)
        raise Unavailable("nobody knows whether this took effect")


class Stage(RuleBasedStateMachine):
    """A backend and an oracle, queues of this story's own, and what was said so far."""

    def __init__(self, backend: Backend, clock: VirtualClock, coverage: Coverage) -> None:
        super().__init__()
        self.backend, self.clock, self.coverage = backend, clock, coverage
        self.prefix = f"story-{next(_stories)}-"
        self.queues = [self.prefix + queue for queue in (*QUEUES, LED)]
        self.oracle = Oracle(clock.now, roll=0.5)
        self.line = Line(backend)
        self.engine = Engine(
            cast(Backend, self.line), Plugins(), roll=lambda: self.oracle.roll, pauses=(0.0, None)
        )
        self.ids: dict[str, None] = {f"{queue}:none": None for queue in self.queues}
        """All ids that were ever used, and some that never are."""
        self.before: dict[str, tuple[int, Record]] = {}
        """The jobs after the last step, and when each was born."""
        self._answers: list[tuple[object, object]] = []
        coverage.stories += 1

    def operate(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Run an operation of the engine.

        Returns:
            What the operation returns.
        """
        self.line.repeated = False
        return self.engine.call(getattr(self.engine, operation)(*args, **kwargs))

    def as_often(self, act: Callable[[], T]) -> T:
        """Make the oracle do what the backend did: twice if its first answer was lost.

        Returns:
            What the oracle answered last.
        """
        if self.line.repeated:
            act()
        return act()

    def answered(self, got: object, right: object) -> None:
        """Keep what was answered, and what should be, until the step is over."""
        self._answers.append((got, right))

    @invariant()
    def agree(self) -> None:
        """Compare the answers, all that can be seen, and what is always true."""
        self.coverage.steps += 1
        self._note_down()
        answers, self._answers = self._answers, []
        self._fail_for(words for got, right in answers for words in unlike(got, right, "the answer"))
        found = read(self.backend, self.ids)
        seen = glance(self.oracle, self.backend, self.queues)
        self._fail_for([*differences(self.oracle, self.backend, seen, found), *self._untrue(seen, found)])

    def _fail_for(self, wrong: Iterable[str]) -> None:
        words = "\n".join(wrong).replace(self.prefix, "")
        if words:
            raise AssertionError(words)

    def _note_down(self) -> None:
        """Say what happened, for the reader of a story that fails."""
        words = [f"{job}: {state}, {event} -> {to}" for job, (state, event, to) in self.oracle.taken]
        words += [f"refused: {got}" for got, _ in self._answers if isinstance(got, tuple)]
        self.coverage.edges.update(edge for _, edge in self.oracle.taken)
        self.oracle.taken.clear()
        if currently_in_test_context():
            for one in words:
                note(f"    # {one}".replace(self.prefix, ""))

    def _untrue(self, seen: Seen, found: Found) -> Iterator[str]:
        for listing in seen.values():
            yield from amiss(listing)
        born = {job_id: job["born"] for job_id, job in self.oracle.jobs.items()}
        after = {job_id: record for job_id, record in found.items() if record is not None}
        for job_id, record in after.items():
            yield from unlived(record)
            if job_id in self.before and self.before[job_id][0] == born.get(job_id):
                yield from reverted(self.before[job_id][1], record)
        self.before = {job_id: (born.get(job_id, 0), record) for job_id, record in after.items()}

    def teardown(self) -> None:
        """Look at everything once more, unless something was wrong before, and leave nothing behind."""
        try:
            if sys.exc_info()[0] is None:
                seen, found = look(self.backend, self.queues), read(self.backend, self.ids)
                damage = [words for queue in self.queues for words in findings(self.backend, queue)]
                self._fail_for([*differences(self.oracle, self.backend, seen, found), *damage])
        finally:
            self._leave()

    def _leave(self) -> None:
        for found in look(self.backend, self.queues).values():
            for head in (head for heads in found.values() for head in heads):
                if head.state is State.RUNNING:
                    self.backend.apply(Apply([_deletion(head, Event.FAIL, State.FAILED)]))
                state = State.FAILED if head.state is State.RUNNING else head.state
                self.backend.apply(Apply([_deletion(replace(head, state=state), Event.DELETE, None)]))
        for queue in self.queues:
            self.backend.forget(Forget(queue))


def _deletion(head: Head, event: Event, to: State | None) -> Change:
    return Change(job_id=head.id, event=event, state=head.state, move=Move(to=to))


def one_of(choices: Sequence[T], which: int) -> T:
    """Return the choice of this number, counted round.

    Returns:
        One of the choices.
    """
    return choices[which % len(choices)]


def answer_of(act: Callable[[], object]) -> object:
    """Return what an act answers, or how it fails.

    Returns:
        A value, or the name of an error and its fields.
    """
    try:
        return act()
    except No as refused:
        return refused.answer
    except StanchionError as error:
        return named(error)


def named(error: StanchionError) -> tuple[str, dict[str, object]]:
    """Name an error by its class and its fields; a hint is for people.

    Returns:
        The name and the fields.
    """
    return type(error).__name__, {name: value for name, value in vars(error).items() if name != "hint"}
