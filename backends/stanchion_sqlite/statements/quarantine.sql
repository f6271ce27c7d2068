-- A record that cannot be read. No job has such a key, so its id and its unique key are free again.
UPDATE stanchion_jobs
SET state = 'unreadable', unique_key = NULL, key = iif(typeof(key) = 'text', key, quote(key)) || ' ' || id
WHERE id = ?
