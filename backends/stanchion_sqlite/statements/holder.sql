-- The head of the job that has a key, else of the one that holds a unique key.
SELECT {head} FROM stanchion_jobs WHERE queue = ? AND key = ?
UNION ALL
SELECT {head} FROM stanchion_jobs WHERE queue = ? AND unique_key = ?
LIMIT 1
