-- Jobs of a queue by key. CROSS JOIN keeps the planner from reading the whole queue.
SELECT job.*
FROM json_each(?) AS wanted CROSS JOIN stanchion_jobs AS job ON job.queue = ? AND job.key = wanted.value
