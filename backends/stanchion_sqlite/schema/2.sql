-- Jobs whose clocks run out in the same instant go by their creation.

DROP INDEX stanchion_jobs_by_place;
ALTER TABLE stanchion_jobs DROP COLUMN minor;
ALTER TABLE stanchion_jobs ADD COLUMN minor INTEGER GENERATED ALWAYS AS (
    CASE WHEN state = 'queued' THEN place WHEN due_at IS NULL THEN coalesce(ended_at, created_at) ELSE created_at END
) VIRTUAL;
CREATE INDEX stanchion_jobs_by_place ON stanchion_jobs (queue, state, major, minor);
