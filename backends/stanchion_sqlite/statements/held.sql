-- Those of these jobs that a claim still holds, in the order given.
SELECT {head}, args, notes
FROM (SELECT value AS wanted, key AS position FROM json_each(?)) CROSS JOIN stanchion_jobs ON id = wanted
WHERE state = 'running' AND claim = ?
ORDER BY position
