-- How many bytes each of the first queued jobs of a queue has.
SELECT ifnull(length(spec), 0) + ifnull(length(written), 0) FROM stanchion_jobs
WHERE queue = ? AND state = 'queued' ORDER BY major, minor LIMIT ?
