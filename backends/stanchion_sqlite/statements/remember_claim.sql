INSERT OR REPLACE INTO stanchion_claims (namespace, claim, ends_at, jobs) VALUES (?, ?, ?, ?)
