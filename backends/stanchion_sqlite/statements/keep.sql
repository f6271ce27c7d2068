-- What a change made of a job.
UPDATE stanchion_jobs
SET state = ?, claim = ?, worker = ?, revision = ?, due_at = ?, priority = ?, place = ?, unique_key = ?, ended_at = ?,
    written = ?
WHERE id = ?
