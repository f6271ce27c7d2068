-- The queued jobs of a queue as they are claimed, without their lists.
SELECT {head}, args, notes FROM stanchion_jobs
WHERE queue = ? AND state = 'queued' ORDER BY major, minor LIMIT ?
