-- Claims whose leases are over.
DELETE FROM stanchion_claims WHERE ends_at <= ?
