"""The handle of a job: what `enqueue` returns. Inspect and control jobs."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TypeVar

from stanchion.app.tags import check_tags
from stanchion.app.views import BodyView
from stanchion.codec.payloads import decode
from stanchion.errors import InvalidArgument, JobFailed
from stanchion.model.outcomes import aware
from stanchion.model.policies import duration
from stanchion.model.records import Record
from stanchion.model.signals import Asked, CancelAsked, Deleted, RetryAsked, Updated
from stanchion.model.states import State
from stanchion.model.values import check_priority, text

R = TypeVar("R")


class Job(BodyView[R]):
    """A job, as it was last read; `refresh` reads it again.

    Methods that ask the backend have async versions with the prefix `a`.
    """

    def refresh(self) -> "Job[R]":
        """Read it again.

        Returns:
            This handle.

        Raises:
            JobNotFound: It was deleted or has expired.
        """
        return self._read(self._engine.call(self._engine.get(self.id)))

    async def arefresh(self) -> "Job[R]":
        """`refresh`, async."""
        return self._read(await self._engine.acall(self._engine.get(self.id)))

    def result(self, timeout: float | timedelta | None = None) -> R:
        """Wait for the job's result.

        Args:
            timeout: How long to wait at most; a timedelta or seconds. Defaults to `None`: wait forever.

        Returns:
            What the handler returned.

        Raises:
            JobFailed: It failed, timed out or was cancelled.
            JobNotFound: It was deleted or has expired.
            ResultTimeout: It is not final after the timeout.
        """
        return self._result(self._engine.call(self._engine.wait_for_end(self.id, _timeout(timeout))))

    async def aresult(self, timeout: float | timedelta | None = None) -> R:
        """`result`, async."""
        return self._result(await self._engine.acall(self._engine.wait_for_end(self.id, _timeout(timeout))))

    def cancel(self, reason: str = "") -> "Job[R]":
        """Cancel it. The handler of a running job is asked to stop; unless it completes, the job ends cancelled.

        Args:
            reason: Why, for the job's history. Defaults to nothing.

        Returns:
            This handle.

        Raises:
            InvalidArgument: The reason is not a string.
            IllegalTransition: It is final.
            JobNotFound: It was deleted or has expired.
        """
        return self._ask(CancelAsked(reason=text(reason, "reason")))

    async def acancel(self, reason: str = "") -> "Job[R]":
        """`cancel`, async."""
        return await self._aask(CancelAsked(reason=text(reason, "reason")))

    def retry(self, *, force: bool = False) -> "Job[R]":
        """Run it again, or now if it waits for a time; its attempts count from one, its history is kept.

        Args:
            force: Run it again even if it completed; its result is erased. Defaults to `False`.

        Returns:
            This handle.

        Raises:
            IllegalTransition: It is queued or running, or completed and not forced.
            UniqueHeld: Another job holds its unique key now.
            JobNotFound: It was deleted or has expired.
        """
        return self._ask(RetryAsked(force=force))

    async def aretry(self, *, force: bool = False) -> "Job[R]":
        """`retry`, async."""
        return await self._aask(RetryAsked(force=force))

    def update(
        self,
        *,
        priority: int | None = None,
        tags: Collection[str] | None = None,
        delay: float | timedelta | None = None,
        at: datetime | None = None,
    ) -> "Job[R]":
        """Change a job that has not started. What is not given stays unchanged.

        Args:
            priority: -100 (last) to 100 (first).

            tags: What it can be found by, instead of the tags it has; an empty set removes them.

            delay: How long from now it may start; a timedelta or seconds.

            at: When it may start; an instant with a timezone. Takes precedence over `delay`.

        Returns:
            This handle.

        Raises:
            InvalidArgument: Nothing is to be changed, or a value cannot be used.
            IllegalTransition: It has started.
            JobNotFound: It was deleted or has expired.
        """
        return self._ask(_updated(priority, tags, delay, at))

    async def aupdate(
        self,
        *,
        priority: int | None = None,
        tags: Collection[str] | None = None,
        delay: float | timedelta | None = None,
        at: datetime | None = None,
    ) -> "Job[R]":
        """`update`, async."""
        return await self._aask(_updated(priority, tags, delay, at))

    def delete(self) -> None:
        """Delete its record, whatever state it is in but running. Deleting it again is harmless.

        Raises:
            IllegalTransition: It is running; cancel it first.
        """
        self._ask(Deleted())

    async def adelete(self) -> None:
        """`delete`, async."""
        await self._aask(Deleted())

    def _ask(self, signal: Asked) -> "Job[R]":
        return self._read(self._engine.call(self._engine.ask(self.id, signal, known=self.head)))

    async def _aask(self, signal: Asked) -> "Job[R]":
        return self._read(await self._engine.acall(self._engine.ask(self.id, signal, known=self.head)))

    def _result(self, record: Record) -> R:
        self._read(record)
        if record.state is not State.COMPLETED:
            errors = self.errors
            detail = f"{errors[-1].type}: {errors[-1].message}".rstrip(": ") if errors else ""
            raise JobFailed(record.id, record.state, detail)
        result: R = decode(record.notes.get("result", b"null"), self._returns)
        return result


def _timeout(timeout: float | timedelta | None) -> timedelta | None:
    return None if timeout is None else duration(timeout, "timeout")


def _updated(
    priority: int | None, tags: Collection[str] | None, delay: float | timedelta | None, at: datetime | None
) -> Updated:
    if priority is None and tags is None and delay is None and at is None:
        raise InvalidArgument("cannot update a job without a change: give priority, tags, delay or at")
    start = aware(at, "at") if at is not None else None if delay is None else duration(delay, "delay")
    return Updated(
        priority=None if priority is None else check_priority(priority),
        tags=None if tags is None else check_tags(tags),
        start=start,
    )
