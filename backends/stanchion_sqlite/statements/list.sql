-- The heads of a page of the jobs of a state, behind a place.
SELECT {head}, major, minor FROM stanchion_jobs
WHERE queue = ? AND state = ? AND (major, minor, id) > (?, ?, ?)
ORDER BY major, minor, id LIMIT ?
