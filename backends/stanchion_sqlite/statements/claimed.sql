-- The jobs of a claim that is still remembered.
SELECT jobs FROM stanchion_claims WHERE namespace = ? AND claim = ? AND ends_at > ?
