-- Queued jobs become running.
UPDATE stanchion_jobs
SET state = 'running', claim = ?, worker = ?, due_at = ?, started_at = ?, run = run + 1,
    unique_key = CASE scope WHEN 'start' THEN NULL ELSE unique_key END
WHERE id IN (SELECT value FROM json_each(?))
