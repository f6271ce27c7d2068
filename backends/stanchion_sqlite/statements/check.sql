-- A page of all jobs of a queue, by key.
SELECT {head}, args, notes, lists FROM stanchion_jobs WHERE queue = ? AND key > ? ORDER BY key LIMIT ?
