SELECT coalesce(max(seq), 0) FROM stanchion_news
