-- A few quarantined records of a queue as they stand, and what they were.
SELECT {head}, args, notes, lists, old_key, old_state, old_unique_key
FROM (
    SELECT job, queue AS old_queue, key AS old_key, state AS old_state, unique_key AS old_unique_key
    FROM stanchion_quarantine
) CROSS JOIN stanchion_jobs ON id = job
WHERE old_queue = ? AND job > ? AND state = 'unreadable'
ORDER BY job LIMIT ?
