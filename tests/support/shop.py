"""An application to be tested, as its users would write it, on a backend that nobody serves."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from stanchion import Fixed, Stanchion

NOWHERE: Final = "redis://127.0.0.1:1"
"""What the application is configured for; a test that reached it would fail."""


@dataclass
class Order:
    """What a shop sells."""

    number: int
    gift: bool = False


class Shop:
    """An application, and a book of what its handlers did."""

    def __init__(self, plugins: Iterable[object] = ()) -> None:
        self.app = Stanchion(NOWHERE, plugins=plugins)
        self.book: list[Any] = []
        app, book = self.app, self.book

        @app.task(queue="mail", retries=3, backoff=Fixed(60), tags={"kind:mail"})
        def welcome(address: str, *, locale: str = "en") -> int:
            book.append(address)
            return len(address)

        @app.task(queue="orders", priority=5)
        async def ship(order: Order, notes: dict[str, int]) -> str:
            book.append(order.number)
            await welcome.aenqueue(f"{order.number}@example.org")
            return "shipped"

        @app.task(retries=2, backoff=Fixed(60))
        def broken(what: str) -> None:
            book.append(what)
            raise ValueError(f"{what} is broken")

        self.welcome, self.ship, self.broken = welcome, ship, broken


def states(jobs: Iterable[Any]) -> list[str]:
    """What became of jobs, in order."""
    return [job.state for job in jobs]
