SELECT state, jobs FROM stanchion_tag_counts WHERE queue = ? AND tag = ?
