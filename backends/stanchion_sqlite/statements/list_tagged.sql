-- The heads of a page of the jobs of a state with a tag, behind a place.
SELECT {head}, major, minor FROM stanchion_jobs WHERE id IN (
    SELECT job FROM stanchion_tags
    WHERE queue = ? AND state = ? AND tag = ? AND (major, minor, job) > (?, ?, ?)
    ORDER BY major, minor, job LIMIT ?
)
ORDER BY major, minor, id
