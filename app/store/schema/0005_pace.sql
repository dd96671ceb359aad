-- What each installation has asked of GitHub, and what GitHub told it: shared by all processes, and kept over restarts.
-- `created` are the times of the last hour, as seconds since 1970; `spent` pairs a second of the last minute and its points.
-- The App itself has the row -1.
CREATE TABLE pace (
    installation bigint             PRIMARY KEY,
    wrote_at     timestamptz,
    created      double precision[] NOT NULL DEFAULT '{}',
    spent        jsonb              NOT NULL DEFAULT '[]',
    quiet_until  timestamptz,
    strikes      integer            NOT NULL DEFAULT 0,
    held_until   timestamptz,
    budget_limit bigint,
    budget_left  bigint,
    budget_reset timestamptz
);

-- The most severe goes first, so who waits is found by it.
ALTER TABLE incident ADD COLUMN severity smallint GENERATED ALWAYS AS ((state->'grade'->>'severity')::smallint) STORED;
