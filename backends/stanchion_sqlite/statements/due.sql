-- The jobs of a state whose clock has run out, oldest first; those of one instant by creation, then key.
SELECT * FROM stanchion_jobs WHERE queue = ? AND state = ? AND major <= ? ORDER BY major, minor, key LIMIT ?
