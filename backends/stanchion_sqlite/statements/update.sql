-- What a change made of a job.
UPDATE stanchion_jobs SET {assignments} WHERE id = ?
