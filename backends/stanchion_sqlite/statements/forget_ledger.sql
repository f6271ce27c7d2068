DELETE FROM stanchion_snapshots WHERE queue = ?
