-- What a transaction changed of a queue.
UPDATE stanchion_queues SET tail = ?, wakes = ?, minute = ?, totals = ? WHERE id = ?
