-- A record that cannot be read. No job has such a key, so its id and its unique key are free again.
UPDATE stanchion_jobs SET state = 'unreadable', key = iif(typeof(key) = 'text', key, quote(key)) || ' ' || id, unique_key = NULL WHERE id = ?
