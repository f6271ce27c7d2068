-- Those of a kind since a minute, and the last one before it.
SELECT minute, totals FROM stanchion_snapshots
WHERE queue = :queue AND ends_hour = :ends_hour AND minute >= coalesce(
    (
        SELECT max(minute) FROM stanchion_snapshots
        WHERE queue = :queue AND ends_hour = :ends_hour AND minute < :since
    ),
    :since
)
ORDER BY minute
