-- A job enters the index of tags.
INSERT INTO stanchion_tags (queue, state, tag, major, minor, job) VALUES (?, ?, ?, ?, ?, ?)
