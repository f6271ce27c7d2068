INSERT OR REPLACE INTO stanchion_snapshots (queue, ends_hour, minute, totals) VALUES (?, ?, ?, ?)
