-- The job that has a key, else the one that holds a unique key.
SELECT * FROM stanchion_jobs WHERE queue = ? AND key = ?
UNION ALL
SELECT * FROM stanchion_jobs WHERE queue = ? AND unique_key = ?
LIMIT 1
