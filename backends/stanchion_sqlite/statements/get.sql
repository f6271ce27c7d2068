-- Jobs of a queue by key.
SELECT {head}, args, notes, lists
FROM (SELECT value AS wanted FROM json_each(?)) CROSS JOIN stanchion_jobs ON queue = ? AND key = wanted
