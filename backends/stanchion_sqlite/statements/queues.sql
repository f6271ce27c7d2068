-- Queues by name.
SELECT id, name, settings, tail, wakes FROM stanchion_queues
WHERE namespace = ? AND name IN (SELECT value FROM json_each(?))
