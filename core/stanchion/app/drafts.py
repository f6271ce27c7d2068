"""Drafts: jobs that are not enqueued yet."""

from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar

import msgspec

from stanchion.app.tasks import Definition, Options
from stanchion.model.ids import new_key
from stanchion.model.records import Item

R = TypeVar("R")


class Draft(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """A job that is not enqueued yet: what `task.draft(…)` returns and `app.enqueue_many` takes; a frozen value.

    Enqueuing it twice makes one job, since it has its id already.
    """

    definition: Definition
    """Its task, with the options of this job."""

    payload: bytes
    """Its arguments, encoded."""

    token: str
    """Random: its key, or with a key of the caller's own what a repeated enqueue is recognised by."""

    item: Item
    """What will be inserted."""

    @classmethod
    def of(cls, definition: Definition, payload: bytes, token: str | None = None) -> Self:
        """Make a draft.

        Args:
            definition: Its task, with the options of this job.

            payload: Its arguments, encoded.

            token: See the attribute. Defaults to a new one.

        Returns:
            The draft.

        Raises:
            InvalidArgument: Its tags cannot be computed.
        """
        token = token or new_key()
        tags = definition.tags_of(payload)
        item = definition.options.item(definition.name, payload, token, tags=tags)
        return cls(definition=definition, payload=payload, token=token, item=item)

    @property
    def id(self) -> str:
        """The id it will have: `<queue>:<key>`."""
        return self.item.id

    @property
    def task(self) -> str:
        """The name of its task."""
        return self.definition.name

    @property
    def options(self) -> Options:
        """Its options: queue, priority, tags and so on; tags that are computed are those of its arguments."""
        options = self.definition.options
        return options.but({"tags": self.item.tags}) if callable(options.tags) else options

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Its arguments by the names of the parameters, as the handler will get them; decoded at each call."""
        return self.definition.signature.named(self.payload)

    @property
    def returns(self) -> Any:
        """The type hint of its result."""
        return self.definition.signature.returns

    def using(self, **options: Any) -> Self:
        """Return the same job with other options; see `stanchion.app.tasks.Options`.

        Args:
            **options: Their new values.

        Returns:
            Another draft with the same id, unless its queue or key is changed.

        Raises:
            InvalidArgument: There is no such option, or its value cannot be used.
        """
        return self.of(self.definition.using(options), self.payload, self.token)

    def with_arguments(self, **changed: Any) -> Self:
        """Return the same job with some other arguments; tags that are computed are computed anew.

        Args:
            **changed: New values, by the names of the parameters.

        Returns:
            Another draft with the same id.

        Raises:
            PayloadError: They do not fit the signature, or cannot be stored.
        """
        payload = self.definition.signature.changed(self.payload, changed)
        return self.of(self.definition, payload, self.token)

    def __repr__(self) -> str:
        return f"<Draft {self.id} of task {self.task}>"
