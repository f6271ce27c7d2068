SELECT id, name, settings, tail, wakes, minute, totals FROM stanchion_queues WHERE namespace = ? AND name = ?
