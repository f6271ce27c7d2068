-- What was published under a topic after some news.
SELECT news.seq, queue.name, news.keys
FROM stanchion_news AS news JOIN stanchion_queues AS queue ON queue.id = news.queue
WHERE news.seq > ? AND news.topic = ? AND queue.namespace = ? AND queue.name IN (SELECT value FROM json_each(?))
ORDER BY news.seq
