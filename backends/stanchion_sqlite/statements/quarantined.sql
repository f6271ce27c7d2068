-- How many records of a queue were put aside.
SELECT count(*) FROM stanchion_jobs WHERE queue = ? AND state = 'unreadable'
