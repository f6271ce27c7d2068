-- The oldest claims, if they were remembered for long enough: more of them at a time than are made.
DELETE FROM stanchion_claims
WHERE id IN (SELECT id FROM stanchion_claims ORDER BY id LIMIT 10) AND ends_at <= ?
