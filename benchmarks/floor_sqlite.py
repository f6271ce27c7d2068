"""The frozen floor on SQLite: the statements of a job queue by hand, with nothing of Stanchion in them.

Plain `sqlite3`, a write-ahead log, each commit on the disk. It does what no queue that keeps its jobs can leave out: an
id made by the caller and kept unique, arguments as JSON, a claim, a lease, a result, and an index to claim by. It is
what Stanchion is measured against, so it stays as it is.

Run as `floor_sqlite.py FILE JOBS` it is the worker: it says `ready`, waits for a line, claims and settles in hundreds,
and prints what it took.
"""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

BATCH = 100
PAYLOAD = "x" * (100 - len('{"payload": ""}'))

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, state TEXT NOT NULL, arguments TEXT NOT NULL,
    created_at INTEGER NOT NULL, claim TEXT, lease_ends INTEGER, result TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, id);
"""
_INSERT = (
    "INSERT INTO jobs (key, state, arguments, created_at) VALUES (?, 'queued', ?, ?) ON CONFLICT DO NOTHING"
)
_CLAIM = """
UPDATE jobs SET state = 'running', claim = ?, lease_ends = ?
WHERE id IN (SELECT id FROM jobs WHERE state = 'queued' ORDER BY id LIMIT ?) RETURNING id, arguments
"""
_SETTLE = "UPDATE jobs SET state = 'completed', result = ? WHERE id = ? AND claim = ? AND state = 'running'"


class SqliteFloor:
    """A file with jobs."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_TABLES)

    def insert(self, count: int) -> None:
        """Store jobs, in batches."""
        for start in range(0, count, BATCH):
            self._insert([_job() for _ in range(start, min(start + BATCH, count))])

    def insert_one(self) -> None:
        """Store a job: one bare transaction."""
        self._insert([_job()])

    def _insert(self, jobs: Sequence[tuple[str, str, int]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_INSERT, jobs)
        self._connection.execute("COMMIT")

    def work(self) -> int:
        """Claim and settle until nothing is left; how many were settled."""
        settled = turn = 0
        while True:
            turn += 1
            claim = f"claim-{turn}"
            self._connection.execute("BEGIN IMMEDIATE")
            lease_ends = int(time.time() * 1000) + 30_000
            found = self._connection.execute(_CLAIM, (claim, lease_ends, BATCH)).fetchall()
            self._connection.execute("COMMIT")
            if not found:
                return settled
            results = [(json.dumps(_noop(**json.loads(arguments))), job, claim) for job, arguments in found]
            self._connection.execute("BEGIN IMMEDIATE")
            settled += self._connection.executemany(_SETTLE, results).rowcount
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _job() -> tuple[str, str, int]:
    return os.urandom(10).hex(), json.dumps({"payload": PAYLOAD}), int(time.time() * 1000)


def _noop(payload: str) -> None:
    """The handler."""


def _work(path: Path, jobs: int) -> dict[str, float]:
    floor = SqliteFloor(path)
    print("ready", flush=True)
    sys.stdin.readline()
    cpu, start = time.process_time(), time.perf_counter()
    settled = floor.work()
    taken = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    floor.close()
    if settled != jobs:
        raise SystemExit(f"{settled} jobs were settled, not {jobs}")
    return taken


if __name__ == "__main__":
    print(json.dumps(_work(Path(sys.argv[1]), int(sys.argv[2]))))
