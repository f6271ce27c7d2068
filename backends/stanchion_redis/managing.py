"""The verbs about queues themselves."""

from collections.abc import Mapping
from typing import Final

from stanchion.contract.answers import CheckPage, Configured, unbalanced
from stanchion.contract.requests import Check, Configure, Forget
from stanchion.errors import InvalidArgument
from stanchion.model.queues import QueueSettings, check_name, patched
from stanchion.model.states import State
from stanchion_redis.arguments import settings_arguments
from stanchion_redis.operations import BATCH, Arguments, Command, Namespace, Script, Sent
from stanchion_redis.replies import SETTINGS, counts, findings, settings, totals

_PARTS: Final = ("ledger", *[state.value for state in State], "quarantine", "unique", "records")
"""What is checked, in this order."""


class Managing(Namespace):
    """See `stanchion.contract.backend.Verbs`."""

    def queues(self) -> Sent[Mapping[str, QueueSettings]]:
        members = yield Command(("SMEMBERS", self.keys.registry))
        names = sorted(name for member in members if (name := _name(member)))
        found = yield Script("queues", self.keys.bases(names), [*SETTINGS])
        return {name: settings(values) for name, values in zip(names, found, strict=True)}

    def configure(self, request: Configure) -> Sent[Configured]:
        queue, base = request.queue, self.keys.base(request.queue)
        args: Arguments = [
            str(len(SETTINGS)),
            *SETTINGS,
            *settings_arguments(request.set, request.unset),
        ]
        is_new, *values = yield Script("configure", [base], args)
        if is_new:  # a call that is cut off here is repeated, and answered the same
            self._registered.pop(queue, None)
            yield from self._register([queue])
            yield Command(("HDEL", base, "new"))
        before = settings(values)
        return Configured(before=before, after=patched(before, request.set, request.unset))

    def forget(self, request: Forget) -> Sent[bool]:
        queue, base = request.queue, self.keys.base(request.queue)
        if not (yield Script("forget", [base], [])):
            return False
        self._registered.pop(queue, None)
        exists = Command(("EXISTS", base))  # another process may make it anew at any time
        if not (yield exists):
            yield Command(("SREM", self.keys.registry, queue))
            if (yield exists):  # and registered it too early
                yield from self._register([queue])
        return True

    def check(self, request: Check) -> Sent[CheckPage]:
        queue, base = request.queue, self.keys.base(request.queue)
        part, _, position = (request.cursor or f"{_PARTS[0]} 0").partition(" ")
        following = [f"{one} 0" for one in _PARTS[_PARTS.index(part) + 1 :]]
        if part == "ledger":
            _, _, rows, numbers, _ = yield Script("ledger", [base], [self._now(), "", ""])
            return CheckPage(findings=unbalanced(queue, totals(rows), counts(numbers)), cursor=following[0])
        args: Arguments = [part, position, BATCH]
        scanned = None
        if part == "records":
            pattern = self.keys.jobs(queue)
            scanned, names = yield Command(("SCAN", position, "MATCH", pattern, "COUNT", BATCH))
            args += [name[len(base) + 1 :] for name in names]
        next_page, *found = yield Script("check", [base], args)
        more = (next_page if scanned is None else scanned).decode()
        after = [f"{part} {more}"] if more != "0" else following[:1]
        return CheckPage(findings=findings(queue, found), cursor=after[0] if after else None)


def _name(member: bytes) -> str | None:
    """Return the name of a queue; `None` if what was written to the registry is none."""
    try:
        return check_name(member.decode())
    except (UnicodeDecodeError, InvalidArgument):
        return None
