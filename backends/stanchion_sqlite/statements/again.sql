-- The heads of these jobs.
SELECT {head} FROM (SELECT value AS wanted FROM json_each(?)) CROSS JOIN stanchion_jobs ON id = wanted
