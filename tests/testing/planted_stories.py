"""Planted bugs that need several things to happen to one job: random stories find them."""

from datetime import datetime

from msgspec.structs import replace

from stanchion.contract.answers import Claimed, Inserted
from stanchion.contract.requests import Claim
from stanchion.model.records import Item
from stanchion.model.states import State
from testing.planted import Unbroken, planted


@planted("test_every_story_goes_as_the_oracle_says")
class WaitingJobsLoseTheirUniqueKey(Unbroken):
    """A key counts as held only by jobs that are queued or run, not by those that wait for a time."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        shelf = self.shelf(item.id)
        holder = shelf.records.get(shelf.holders.get(item.unique or "", ""))
        if holder is not None and holder.state in (State.SCHEDULED, State.RETRYING):
            self.put(replace(holder, unique=None))
        return super()._insert(item, now)


@planted("test_every_story_goes_as_the_oracle_says")
class BusyClaimsDoNotSayWhatIsDueNext(Unbroken):
    """A claim that takes jobs does not say when the next one is due."""

    def claim(self, request: Claim) -> Claimed:
        answer = super().claim(request)
        return answer if answer.more or not answer.records else replace(answer, ask_again_at=None)
