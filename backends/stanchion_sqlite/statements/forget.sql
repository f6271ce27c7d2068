-- A queue without jobs; its number, if there was one.
DELETE FROM stanchion_queues
WHERE namespace = ? AND name = ? AND NOT EXISTS (SELECT 1 FROM stanchion_jobs WHERE queue = stanchion_queues.id)
RETURNING id
