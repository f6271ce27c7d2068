-- The heads of the jobs of a state whose deadline has passed, longest due first; those of one instant by creation, then key.
SELECT {head} FROM stanchion_jobs WHERE queue = ? AND state = ? AND major <= ? ORDER BY major, minor, key LIMIT ?
