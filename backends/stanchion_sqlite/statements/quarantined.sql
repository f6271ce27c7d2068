-- How many records of a queue are quarantined.
SELECT count(*) FROM stanchion_jobs WHERE queue = ? AND state = 'unreadable'
