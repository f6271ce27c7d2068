DELETE FROM stanchion_jobs WHERE id = ?
