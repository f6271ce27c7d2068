"""The SQLite backend keeps the contract."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stanchion.contract.backend import Backend
from stanchion.engine.async_adapter import Inline
from stanchion_conformance import BackendSuite, Ground, Smoke, blocking
from stanchion_sqlite import SqliteBackend
from stanchion_testing.clock import VirtualClock

CONTENT = {
    "stanchion_queues": "id, namespace, name, settings, totals",  # any place may be skipped, and wakes are hints
    "stanchion_jobs": "*",
    "stanchion_snapshots": "*",
    "stanchion_tags": "*",
    "stanchion_tag_counts": "*",
    "stanchion_claims": "*",
}
"""What must not change when nothing happens, by table."""


class OnSqlite(Ground):
    """What its sync and async verbs have in common."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A file of its own."""
        return tmp_path / "jobs.db"

    @pytest.fixture
    def opened(self, clock: VirtualClock, path: Path) -> Iterator[SqliteBackend]:
        """A backend on the file."""
        self.clock, self.path = clock, path
        backend = SqliteBackend(path, namespace="test", synchronous="normal", clock=clock)
        yield backend
        backend.close()

    def reopen(self, backend: Backend, namespace: str) -> Backend:
        return SqliteBackend(self.path, namespace=namespace, clock=self.clock)

    def address(self, backend: Backend) -> tuple[str, str]:
        return f"sqlite:///{self.path}", "test"

    def connect(self, backend: Backend) -> sqlite3.Connection:
        return sqlite3.connect(self.path)

    def damage(self, backend: Backend, job_id: str) -> bool:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(
                "UPDATE stanchion_jobs SET policy = 7 WHERE key = ?", (job_id.partition(":")[2],)
            )
        return True

    def mend(self, backend: Backend, job_id: str) -> bool:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("UPDATE stanchion_jobs SET policy = x'' WHERE policy = 7")
        return True

    def dump(self, backend: Backend) -> Any:
        connection = sqlite3.connect(self.path)
        try:
            return {
                table: connection.execute(f"SELECT {columns} FROM {table}").fetchall()
                for table, columns in CONTENT.items()
            }
        finally:
            connection.close()


class TestSqlite(OnSqlite, BackendSuite):
    """Its sync verbs."""

    @pytest.fixture
    def backend(self, opened: SqliteBackend) -> Backend:
        return opened


class TestSqliteInline(OnSqlite, Smoke):
    """Its verbs, made async by running inline."""

    @pytest.fixture
    def backend(self, opened: SqliteBackend) -> Iterator[Backend]:
        with blocking(lambda: Inline(opened)) as backend:
            yield backend
