SELECT EXISTS (SELECT 1 FROM stanchion_jobs WHERE queue = ? AND state = 'queued')
