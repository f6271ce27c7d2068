-- The same from the other end.
SELECT {head}, major, minor FROM stanchion_jobs
WHERE queue = ? AND state = ? AND (major, minor, id) < (?, ?, ?)
ORDER BY major DESC, minor DESC, id DESC LIMIT ?
