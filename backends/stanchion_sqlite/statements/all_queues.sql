SELECT name, settings FROM stanchion_queues WHERE namespace = ? ORDER BY name
