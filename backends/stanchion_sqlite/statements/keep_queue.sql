-- What a transaction changed of a queue.
UPDATE stanchion_queues SET settings = ?, tail = ?, wakes = ? WHERE id = ?
