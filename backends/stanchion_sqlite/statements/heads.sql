-- The heads of jobs of a queue by key. CROSS JOIN keeps the planner from reading the whole queue.
SELECT {head}
FROM (SELECT value AS wanted FROM json_each(?)) CROSS JOIN stanchion_jobs ON queue = ? AND key = wanted
