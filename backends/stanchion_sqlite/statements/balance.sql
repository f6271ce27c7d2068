-- A queue's ledger and the true number of its jobs by state: one statement, so that they are of one instant.
SELECT queue.totals, job.state, count(job.id)
FROM stanchion_queues AS queue LEFT JOIN stanchion_jobs AS job ON job.queue = queue.id
WHERE queue.id = ?
GROUP BY job.state
