-- A page of all jobs of a queue, by key.
SELECT * FROM stanchion_jobs WHERE queue = ? AND key > ? ORDER BY key LIMIT ?
