-- Those of these jobs that a claim still holds, in the order given.
SELECT job.*
FROM json_each(?) AS wanted CROSS JOIN stanchion_jobs AS job ON job.id = wanted.value
WHERE job.claim = ?
ORDER BY wanted.key
