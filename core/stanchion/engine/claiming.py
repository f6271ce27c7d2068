"""Claiming: jobs for a worker."""

from collections.abc import Sequence
from datetime import timedelta

from stanchion.contract.answers import Claimed
from stanchion.contract.requests import Claim
from stanchion.engine.driver import Driver
from stanchion.engine.notifying import notify_claimed
from stanchion.engine.operations import Call, Steps
from stanchion.model.ids import new_key


def claim(
    driver: Driver,
    queues: Sequence[str],
    limit: int,
    worker: str,
    lease: timedelta,
    claim_id: str | None = None,
) -> Steps[Claimed]:
    """Take jobs for a worker.

    Args:
        driver: Where.

        queues: The queues to take from, in this order.

        limit: How many jobs at most.

        worker: The worker's name.

        lease: How long the jobs are held.

        claim_id: The id of a claim that was not answered: the answer is the same jobs. Defaults to a new one.

    Returns:
        The jobs, and when to ask again.
    """
    request = Claim(
        queues=queues,
        limit=max(0, min(limit, driver.backend.limits.batch)),
        claim_id=claim_id or new_key(),
        worker=worker,
        lease=lease,
    )
    claimed: Claimed = yield Call("claim", (request,))
    notify_claimed(driver, claimed)
    return claimed
