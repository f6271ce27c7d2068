-- How often there came something to claim.
SELECT id, wakes FROM stanchion_queues WHERE namespace = ? AND name = ?
