"""The verbs that read."""

from collections.abc import Mapping, Sequence
from sqlite3 import Cursor
from typing import Any

from stanchion.contract.answers import CheckPage, Counts, Due, Page
from stanchion.contract.requests import Check, Count, FindDue, Get, List, ReadLedger
from stanchion.model.ids import split_id
from stanchion.model.ledger import Books
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Record
from stanchion.model.states import State
from stanchion_sqlite.checking import check_page
from stanchion_sqlite.ledgers import read_books
from stanchion_sqlite.listing import Place, read_page
from stanchion_sqlite.queues import queues_of, settings_of
from stanchion_sqlite.rows import Row, as_json, found_among
from stanchion_sqlite.statements import statement
from stanchion_sqlite.store import Store
from stanchion_sqlite.sweeping import sweep


class Reads(Store):
    """The verbs that change nothing."""

    def get(self, request: Get) -> Sequence[Record | None]:
        keys: dict[str, list[str]] = {}
        for name, key in map(split_id, request.ids):
            keys.setdefault(name, []).append(key)

        def look(cursor: Cursor) -> dict[str, Record]:
            jobs: dict[str, Record] = {}
            for name, queue in queues_of(cursor, self._namespace, keys).items():
                rows = cursor.execute(statement("get"), (as_json(keys[name]), queue.id)).fetchall()
                jobs |= {job.head.id: job.head for job in found_among(name, rows)[0]}
            return jobs

        jobs = self._read(look)
        return [jobs.get(job_id) for job_id in request.ids]

    def list(self, request: List) -> Page:
        kind = "list_tagged" if request.tag is not None else "list"
        name = f"{kind}_newest" if request.newest else kind
        tag = () if request.tag is None else (request.tag,)

        def look(cursor: Cursor) -> Page:
            queue = queues_of(cursor, self._namespace, [request.queue]).get(request.queue)
            if queue is None:
                return Page(heads=[], cursor=None)

            def read(behind: Place, most: int) -> Sequence[Row]:
                place = (queue.id, request.state, *tag, *behind, most)
                return cursor.execute(statement(name), place).fetchall()

            return read_page(request, read)

        return self._read(look)

    def count(self, request: Count) -> Mapping[str, Counts]:
        name, tag = ("count", ()) if request.tag is None else ("count_tagged", (request.tag,))

        def look(cursor: Cursor) -> dict[str, dict[Any, int]]:
            there = queues_of(cursor, self._namespace, request.queues).values()
            return {
                queue.name: dict(cursor.execute(statement(name), (queue.id, *tag)).fetchall())
                for queue in there
            }

        found = self._read(look)
        return {
            queue: {state: found.get(queue, {}).get(state, 0) for state in State} for queue in request.queues
        }

    def ledger(self, request: ReadLedger) -> Books:
        now = self.now()
        return self._read(lambda cursor: read_books(cursor, self._namespace, request, now))

    def queues(self) -> Mapping[str, QueueSettings]:
        rows = self._read(
            lambda cursor: cursor.execute(statement("all_queues"), (self._namespace,)).fetchall()
        )
        return {name: settings_of(settings) for name, settings in rows if isinstance(name, str)}

    def quarantined(self, queues: Sequence[str]) -> Mapping[str, int]:
        """See `stanchion.contract.capabilities.Quarantines`."""

        def look(cursor: Cursor) -> dict[str, int]:
            there = queues_of(cursor, self._namespace, queues).items()
            return {
                name: cursor.execute(statement("quarantined"), (queue.id,)).fetchone()[0]
                for name, queue in there
            }

        return {**dict.fromkeys(queues, 0), **self._read(look)}

    def check(self, request: Check) -> CheckPage:
        return self._read(lambda cursor: check_page(cursor, self._namespace, request))

    def due(self, request: FindDue) -> Due:
        now = self.now()
        found = self._read(lambda cursor: sweep(cursor, self._namespace, request, now, self._looked_at))
        if found.queues:
            self._write(found.queues, found.tidy)
        return Due(now=now, heads=found.heads, more=found.more)
