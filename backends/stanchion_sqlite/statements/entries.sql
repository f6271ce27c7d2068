-- What the index of tags has of these jobs.
SELECT queue, state, tag, major, minor, job FROM stanchion_tags WHERE job IN (SELECT value FROM json_each(?))
