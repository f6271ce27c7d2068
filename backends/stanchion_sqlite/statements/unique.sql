-- The key of the job that holds a unique key.
SELECT key FROM stanchion_jobs WHERE queue = ? AND unique_key = ?
