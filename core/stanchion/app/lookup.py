"""Lookup: jobs and queues of an application."""

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from typing import Any

from stanchion.app.jobs import Job
from stanchion.app.lifecycle import Lifecycle
from stanchion.app.queues import DAY, Queue
from stanchion.app.stats import QueueStats, read_all, span_of, step_of
from stanchion.contract.requests import List
from stanchion.engine.operations import Steps
from stanchion.errors import InvalidArgument
from stanchion.errors.texts import did_you_mean
from stanchion.model.ids import check_id
from stanchion.model.queues import QueueSettings, check_queue
from stanchion.model.states import State


class Lookup(Lifecycle):
    """Finds jobs and queues; see `stanchion.Stanchion`."""

    def job(self, job_id: str) -> Job[Any]:
        """Return a job.

        Args:
            job_id: Its id: `<queue>:<key>`.

        Returns:
            Its handle.

        Raises:
            InvalidArgument: It is not an id.
            JobNotFound: There is no such job.
        """
        return self._job(self.engine.call(self.engine.get(check_id(job_id))))

    async def ajob(self, job_id: str) -> Job[Any]:
        """`job`, async."""
        return self._job(await self.engine.acall(self.engine.get(check_id(job_id))))

    def jobs(self, queue: str, state: State | str) -> Iterator[Job[Any]]:
        """Return the jobs of a queue in one state, read page by page as they are asked for.

        Args:
            queue: The queue's name.

            state: The state, or its name.

        Returns:
            Their handles; a job that stays in its place appears exactly once.

        Raises:
            InvalidArgument: It is not a valid name of a queue, or not a state.
        """
        return self._pages(check_queue(queue), check_state(state))

    def ajobs(self, queue: str, state: State | str) -> AsyncIterator[Job[Any]]:
        """`jobs`, async."""
        return self._apages(check_queue(queue), check_state(state))

    def _pages(self, queue: str, state: State) -> Iterator[Job[Any]]:
        cursor, more = None, True
        while more:
            page = self.engine.call(self.engine.page(List(queue=queue, state=state, cursor=cursor)))
            yield from map(self._job, page.heads)
            cursor, more = page.cursor, page.cursor is not None

    async def _apages(self, queue: str, state: State) -> AsyncIterator[Job[Any]]:
        cursor, more = None, True
        while more:
            page = await self.engine.acall(self.engine.page(List(queue=queue, state=state, cursor=cursor)))
            for head in page.heads:
                yield self._job(head)
            cursor, more = page.cursor, page.cursor is not None

    def queue(self, name: str) -> Queue:
        """Return a queue, whether it exists yet or not.

        Args:
            name: Its name.

        Returns:
            The queue.

        Raises:
            InvalidArgument: It is not a valid name of a queue.
        """
        return Queue(self, name)

    def queues(self) -> Mapping[str, QueueSettings]:
        """Return the queues that exist.

        Returns:
            Their settings, sorted by name.
        """
        return self.engine.call(self.engine.queues())

    def stats(
        self, since: float | timedelta = DAY, *, step: float | timedelta | None = None
    ) -> Mapping[str, QueueStats]:
        """Return what happened in all queues, by their ledgers; see `Queue.stats`.

        Args:
            since: How far back; a timedelta or seconds.

            step: How long each interval is.

        Returns:
            Statistics by queue, sorted by name.

        Raises:
            InvalidArgument: A value cannot be used.
        """
        return self.engine.call(self._stats(since, step))

    async def astats(
        self, since: float | timedelta = DAY, *, step: float | timedelta | None = None
    ) -> Mapping[str, QueueStats]:
        """`stats`, async."""
        return await self.engine.acall(self._stats(since, step))

    def _stats(self, since: object, step: object) -> Steps[dict[str, QueueStats]]:
        span = span_of(since)
        return read_all(self.engine, span, step_of(span, step))

    def _job(self, record: Any) -> Job[Any]:
        task = self.tasks.get(record.task)
        return Job(self.engine, record, task.signature.returns if task else Any)


def check_state(state: State | str) -> State:
    """Return the state of this name.

    Args:
        state: A state, or its name.

    Returns:
        The state.

    Raises:
        InvalidArgument: There is no such state.
    """
    try:
        return State(state)
    except ValueError:
        near = did_you_mean(str(state), State)
        raise InvalidArgument(f"unknown state {state!r}; expected one of {', '.join(State)}{near}") from None
