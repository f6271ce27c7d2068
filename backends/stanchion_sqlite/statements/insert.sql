-- One job; nothing if its key or its unique key is taken.
INSERT INTO stanchion_jobs (queue, key, task, state, due_at, priority, place, unique_key, scope, tags, created_at, spec)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
