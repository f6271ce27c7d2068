-- A tag that no job of a state has any more.
DELETE FROM stanchion_tag_counts WHERE queue = ? AND state = ? AND tag = ? AND jobs = 0
