-- Those of these jobs that have tags, and where they are.
SELECT queue, state, tags, major, minor, id
FROM (SELECT value AS wanted FROM json_each(?)) CROSS JOIN stanchion_jobs ON id = wanted
WHERE tags IS NOT NULL AND state <> 'unreadable'
