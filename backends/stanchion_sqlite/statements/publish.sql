INSERT INTO stanchion_news (queue, topic, keys) VALUES (?, ?, ?) RETURNING seq
