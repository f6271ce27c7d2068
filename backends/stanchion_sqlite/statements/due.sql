-- The jobs of a state whose clock has run out, oldest first.
SELECT * FROM stanchion_jobs WHERE queue = ? AND state = ? AND major <= ? ORDER BY major, minor, id LIMIT ?
