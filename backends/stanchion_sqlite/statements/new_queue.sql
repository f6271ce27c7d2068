INSERT INTO stanchion_queues (namespace, name, settings) VALUES (?, ?, ?) RETURNING id
