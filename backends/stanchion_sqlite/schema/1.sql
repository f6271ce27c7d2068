-- All instants are milliseconds since 1970, UTC.

CREATE TABLE stanchion_schema (
    version INTEGER NOT NULL
);

CREATE TABLE stanchion_queues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again, so that nothing can be mistaken for its successor
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,                 -- JSON
    tail INTEGER NOT NULL DEFAULT 0,        -- the last place that was given
    wakes INTEGER NOT NULL DEFAULT 0,       -- how often there came something to claim: what idle workers look at
    UNIQUE (namespace, name)
);

CREATE TABLE stanchion_jobs (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,                 -- stanchion_queues.id
    key TEXT NOT NULL,
    task TEXT NOT NULL,
    state TEXT NOT NULL,                    -- or 'unreadable': put aside
    claim TEXT,
    run INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    revision INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER,
    priority INTEGER NOT NULL DEFAULT 0,
    place INTEGER NOT NULL DEFAULT 0,
    unique_key TEXT,                        -- a digest
    scope TEXT,                             -- until when it holds it: start, end
    tags TEXT,                              -- a JSON array
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    spec BLOB NOT NULL,
    written BLOB,                           -- msgpack: notes by name, lists by name; none while there are none

    -- Where it stands among the jobs of its state: queued by priority and place, others by clock, those without
    -- a clock last. Made of the columns above, so that the index cannot tell another story.
    major INTEGER GENERATED ALWAYS AS (
        CASE WHEN state = 'queued' THEN -priority ELSE coalesce(due_at, 1 << 52) END
    ) VIRTUAL,
    minor INTEGER GENERATED ALWAYS AS (
        CASE WHEN state = 'queued' THEN place WHEN due_at IS NULL THEN coalesce(ended_at, created_at) ELSE 0 END
    ) VIRTUAL,

    CHECK (CASE state                       -- CASE and not IN, which is slow in statements for one row
        WHEN 'blocked' THEN claim IS NULL AND worker IS NULL AND ended_at IS NULL
        WHEN 'scheduled' THEN claim IS NULL AND worker IS NULL AND ended_at IS NULL
        WHEN 'queued' THEN claim IS NULL AND worker IS NULL AND ended_at IS NULL AND due_at IS NULL
        WHEN 'running' THEN claim IS NOT NULL AND worker IS NOT NULL AND ended_at IS NULL AND due_at IS NOT NULL
        WHEN 'retrying' THEN claim IS NULL AND worker IS NULL AND ended_at IS NULL
        WHEN 'completed' THEN claim IS NULL AND worker IS NULL AND ended_at IS NOT NULL
        WHEN 'failed' THEN claim IS NULL AND worker IS NULL AND ended_at IS NOT NULL
        WHEN 'timed_out' THEN claim IS NULL AND worker IS NULL AND ended_at IS NOT NULL
        WHEN 'cancelled' THEN claim IS NULL AND worker IS NULL AND ended_at IS NOT NULL
        ELSE state = 'unreadable'
    END)
);

CREATE UNIQUE INDEX stanchion_jobs_by_key ON stanchion_jobs (queue, key);
CREATE INDEX stanchion_jobs_by_place ON stanchion_jobs (queue, state, major, minor);
CREATE UNIQUE INDEX stanchion_jobs_by_unique_key ON stanchion_jobs (queue, unique_key) WHERE unique_key IS NOT NULL;

-- The answers to claims, for their repetition within the lease.
CREATE TABLE stanchion_claims (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    claim TEXT NOT NULL,
    ends_at INTEGER NOT NULL,
    jobs TEXT NOT NULL,                     -- a JSON array of stanchion_jobs.id, in the order of the answer
    UNIQUE (claim, namespace)
);

-- What watches hear of: the newest changes, a row for each call that made some.
CREATE TABLE stanchion_news (
    seq INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    topic TEXT NOT NULL,
    keys TEXT NOT NULL                      -- a JSON array
);
