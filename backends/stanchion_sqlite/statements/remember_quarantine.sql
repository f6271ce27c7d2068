-- What a record that cannot be read was, for the case that it can be read again.
INSERT OR REPLACE INTO stanchion_quarantine (job, queue, key, state, unique_key)
SELECT id, queue, key, state, unique_key FROM stanchion_jobs WHERE id = ?
