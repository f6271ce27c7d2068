-- From the index alone: 10 ms for each million of jobs or so.
SELECT state, count(*) FROM stanchion_jobs WHERE queue = ? GROUP BY state
