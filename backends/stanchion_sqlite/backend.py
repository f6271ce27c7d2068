"""The SQLite backend: the contract over one file, which any number of processes of one machine share."""

from collections.abc import Sequence
from sqlite3 import Cursor

from stanchion.contract.answers import Claimed, Configured, Inserted
from stanchion.contract.requests import Apply, Claim, Configure, Forget, Insert, Wait
from stanchion.model.changes import Applied, Refused, Topic
from stanchion.model.ids import split_id
from stanchion.model.queues import patched
from stanchion_sqlite.applying import apply
from stanchion_sqlite.claiming import claim
from stanchion_sqlite.inserting import insert
from stanchion_sqlite.joining import join
from stanchion_sqlite.news import SqliteWatch
from stanchion_sqlite.queues import settings_text, wakes_of
from stanchion_sqlite.reads import Reads
from stanchion_sqlite.statements import statement
from stanchion_sqlite.transaction import Transaction


class SqliteBackend(Reads):
    """Jobs in a file; see `stanchion_sqlite.store.Store` for its arguments."""

    def insert(self, request: Insert) -> Sequence[Inserted]:
        names = (split_id(item.id)[0] for item in request.items)
        return self._write(names, lambda transaction: insert(transaction, request.items))

    def insert_joined(self, request: Insert, connection: object) -> Sequence[Inserted]:
        """See `stanchion.contract.capabilities.JoinsTransactions`."""

        def insert_all(cursor: Cursor) -> list[Inserted]:
            names = dict.fromkeys(split_id(item.id)[0] for item in request.items)
            transaction = Transaction(cursor, self._namespace, self.now(), names)
            answers = insert(transaction, request.items)
            transaction.finish()
            return answers

        return join(connection, self._database, insert_all)

    def claim(self, request: Claim) -> Claimed:
        taken = self._write(request.queues, lambda transaction: claim(transaction, request))
        self._wakes.act_on(taken.asked)
        self._wakes.pass_on(taken.left)
        return taken.answer

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        names = (split_id(change.job_id)[0] for change in request.changes)
        return self._write(names, lambda transaction: apply(transaction, request.changes))

    def configure(self, request: Configure) -> Configured:
        def configure(transaction: Transaction) -> Configured:
            queue = transaction.queue(request.queue)
            before = queue.settings
            after = patched(before, request.set, request.unset)
            transaction.run("configure", settings_text(queue.settings_text, after), queue.id)
            if not after.paused:
                queue.wake()
            return Configured(before=before, after=after)

        return self._write([request.queue], configure)

    def forget(self, request: Forget) -> bool:
        def forget(cursor: Cursor) -> bool:
            queue = (self._namespace, request.queue)
            gone = cursor.execute(statement("forget"), queue).fetchone()
            if gone is not None:
                cursor.execute(statement("forget_ledger"), gone)
            return cursor.execute(statement("queue"), queue).fetchone() is None

        return self._database.write(forget, self._patience)

    def wait(self, request: Wait) -> bool:
        queues = request.queues
        unsubscribe = self._clock.subscribe(lambda: self._wakes.clock_moved(queues)) if self._clock else None
        try:
            return self._bell.wait_until(lambda: self._are_woken(queues), request.timeout)
        finally:
            if unsubscribe:
                unsubscribe()

    def _are_woken(self, queues: Sequence[str]) -> bool:
        rows = self._read(lambda cursor: wakes_of(cursor, self._namespace, queues))
        return self._wakes.came(queues, rows)

    def watch(self, queues: Sequence[str], topic: Topic) -> SqliteWatch:
        """See `stanchion.contract.capabilities.WatchesJobs`."""
        return SqliteWatch(self._database, self._bell, self._namespace, queues, topic)
