-- So many more jobs have a tag, or fewer.
INSERT INTO stanchion_tag_counts (queue, state, tag, jobs) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs
