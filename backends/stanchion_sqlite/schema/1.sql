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
    minute INTEGER NOT NULL DEFAULT 0,      -- of the last counting of its ledger, since 1970
    totals TEXT NOT NULL DEFAULT '{}',      -- its ledger: a JSON object, [jobs, milliseconds] by row
    UNIQUE (namespace, name)
);

-- The totals of each queue as a minute of its ledger ended.
CREATE TABLE stanchion_snapshots (
    queue INTEGER NOT NULL,
    ends_hour INTEGER NOT NULL,             -- whether it is the last one of its hour
    minute INTEGER NOT NULL,
    totals TEXT NOT NULL,
    PRIMARY KEY (queue, ends_hour, minute)
) WITHOUT ROWID;

CREATE TABLE stanchion_jobs (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,                 -- stanchion_queues.id
    key TEXT NOT NULL,
    task TEXT NOT NULL,
    state TEXT NOT NULL,                    -- or 'unreadable': quarantined
    created_at INTEGER NOT NULL,
    queued_at INTEGER,
    started_at INTEGER,
    ended_at INTEGER,
    due_at INTEGER,
    priority INTEGER NOT NULL DEFAULT 0,
    place INTEGER NOT NULL DEFAULT 0,
    claim TEXT,
    worker TEXT,
    run INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0,
    unique_key TEXT,                        -- a digest
    scope TEXT,                             -- until when it holds it: start, end
    tags TEXT,                              -- a JSON array; NULL if it has none
    counters TEXT,                          -- a JSON object; NULL while all are zero
    cancel_reason TEXT,
    cancel_at INTEGER,
    error TEXT,
    policy BLOB NOT NULL DEFAULT x'',

    -- The body. It comes last, so that what reads only the columns before it reads no page of it.
    args BLOB NOT NULL,
    notes BLOB,                             -- msgpack: values by name; NULL while there are none
    lists BLOB,                             -- msgpack: lists by name; NULL while there are none

    -- Where it stands among the jobs of its state: queued by priority and place, others by deadline and creation, those
    -- without a deadline last. Made of the columns above, so that the index cannot disagree with them.
    major INTEGER GENERATED ALWAYS AS (
        CASE WHEN state = 'queued' THEN -priority ELSE coalesce(due_at, 1 << 52) END
    ) VIRTUAL,
    minor INTEGER GENERATED ALWAYS AS (
        CASE WHEN state = 'queued' THEN place WHEN due_at IS NULL THEN coalesce(ended_at, created_at) ELSE created_at END
    ) VIRTUAL,

    CHECK (CASE state                       -- CASE and not IN, which is slow in statements for one row
        WHEN 'blocked' THEN ended_at IS NULL
        WHEN 'scheduled' THEN ended_at IS NULL
        WHEN 'queued' THEN ended_at IS NULL AND due_at IS NULL
        WHEN 'running' THEN ended_at IS NULL AND due_at IS NOT NULL AND claim IS NOT NULL AND worker IS NOT NULL
        WHEN 'retrying' THEN ended_at IS NULL
        WHEN 'completed' THEN ended_at IS NOT NULL
        WHEN 'failed' THEN ended_at IS NOT NULL
        WHEN 'timed_out' THEN ended_at IS NOT NULL
        WHEN 'cancelled' THEN ended_at IS NOT NULL
        ELSE state = 'unreadable'
    END)
);

CREATE UNIQUE INDEX stanchion_jobs_by_key ON stanchion_jobs (queue, key);
CREATE INDEX stanchion_jobs_by_place ON stanchion_jobs (queue, state, major, minor);
CREATE UNIQUE INDEX stanchion_jobs_by_unique_key ON stanchion_jobs (queue, unique_key) WHERE unique_key IS NOT NULL;

-- The tags of jobs, with the place of each job as it is in stanchion_jobs. A job without tags has no row here.
CREATE TABLE stanchion_tags (
    queue INTEGER NOT NULL,
    state TEXT NOT NULL,
    tag TEXT NOT NULL,
    major INTEGER NOT NULL,
    minor INTEGER NOT NULL,
    job INTEGER NOT NULL,                   -- stanchion_jobs.id
    PRIMARY KEY (queue, state, tag, major, minor, job)
) WITHOUT ROWID;

CREATE INDEX stanchion_tags_by_job ON stanchion_tags (job);

-- How many rows of stanchion_tags there are for each tag and state: counting them would take longer the more there are.
CREATE TABLE stanchion_tag_counts (
    queue INTEGER NOT NULL,
    tag TEXT NOT NULL,
    state TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (queue, tag, state)
) WITHOUT ROWID;

-- What quarantined jobs were before, as far as that was changed.
CREATE TABLE stanchion_quarantine (
    job INTEGER PRIMARY KEY,                -- stanchion_jobs.id
    queue INTEGER NOT NULL,
    key,
    state,
    unique_key
);

CREATE INDEX stanchion_quarantine_by_queue ON stanchion_quarantine (queue);

-- The answers to claims, for as long as a repetition is recognised.
CREATE TABLE stanchion_claims (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    claim TEXT NOT NULL,
    ends_at INTEGER NOT NULL,
    jobs TEXT NOT NULL,                     -- a JSON array of stanchion_jobs.id, in the order of the answer
    UNIQUE (claim, namespace)
);

-- What is published to watches: the newest changes, a row for each call that made some.
CREATE TABLE stanchion_news (
    seq INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    topic TEXT NOT NULL,
    keys TEXT NOT NULL                      -- a JSON array
);
