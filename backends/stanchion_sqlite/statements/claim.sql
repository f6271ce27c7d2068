-- The first queued jobs of a queue become running. The answer has no order. None of them has ended: that is written
-- again, so that one damaged row is no reason to refuse them all.
UPDATE stanchion_jobs
SET state = 'running', claim = ?, worker = ?, due_at = ?, started_at = ?, ended_at = NULL, run = run + 1,
    unique_key = CASE scope WHEN 'start' THEN NULL ELSE unique_key END
WHERE id IN (
    SELECT id FROM stanchion_jobs WHERE queue = ? AND state = 'queued' ORDER BY major, minor LIMIT ?
)
RETURNING *
