-- A quarantined record comes back, unless its key or its unique key was taken meanwhile.
UPDATE OR IGNORE stanchion_jobs SET key = ?, state = ?, unique_key = ? WHERE id = ?
