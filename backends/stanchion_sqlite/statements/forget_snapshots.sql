-- Those that were kept for long enough, but for the newest few: more of them at a time than are made.
DELETE FROM stanchion_snapshots
WHERE queue = ? AND ends_hour = ? AND minute IN (
    SELECT minute FROM stanchion_snapshots
    WHERE queue = ? AND ends_hour = ? AND minute <= ? ORDER BY minute DESC LIMIT 100 OFFSET ?
)
