-- Jobs leave the index of tags.
DELETE FROM stanchion_tags WHERE job IN (SELECT value FROM json_each(?)) RETURNING queue, state, tag
