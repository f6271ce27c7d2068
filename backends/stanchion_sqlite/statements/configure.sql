UPDATE stanchion_queues SET settings = ? WHERE id = ?
