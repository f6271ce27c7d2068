-- The jobs of a claim that was made within its lease.
SELECT jobs FROM stanchion_claims WHERE namespace = ? AND claim = ? AND ends_at > ?
