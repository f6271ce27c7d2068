SELECT id, name, settings, tail, wakes FROM stanchion_queues WHERE namespace = ? AND name = ?
