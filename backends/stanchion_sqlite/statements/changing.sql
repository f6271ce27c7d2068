-- Jobs of a queue by key, as changes need them that write notes or lists: without arguments.
SELECT {head}, NULL, notes, lists
FROM (SELECT value AS wanted FROM json_each(?)) CROSS JOIN stanchion_jobs ON queue = ? AND key = wanted
