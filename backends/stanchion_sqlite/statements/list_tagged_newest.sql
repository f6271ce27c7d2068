-- The same from the other end.
SELECT {head}, major, minor FROM stanchion_jobs WHERE id IN (
    SELECT job FROM stanchion_tags
    WHERE queue = ? AND state = ? AND tag = ? AND (major, minor, job) < (?, ?, ?)
    ORDER BY major DESC, minor DESC, job DESC LIMIT ?
)
ORDER BY major DESC, minor DESC, id DESC
