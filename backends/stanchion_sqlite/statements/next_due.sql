-- The first deadline of the jobs that wait for a time.
SELECT min(due_at) FROM (
    SELECT * FROM (
        SELECT due_at FROM stanchion_jobs WHERE queue = ? AND state = 'scheduled' ORDER BY major LIMIT 1
    )
    UNION ALL
    SELECT * FROM (
        SELECT due_at FROM stanchion_jobs WHERE queue = ? AND state = 'retrying' ORDER BY major LIMIT 1
    )
)
