-- One job; nothing if its key or its unique key is taken.
INSERT INTO stanchion_jobs ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING
