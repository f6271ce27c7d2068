DELETE FROM stanchion_quarantine WHERE job = ?
