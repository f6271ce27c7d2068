DELETE FROM stanchion_news WHERE seq <= ?
