-- What GitHub refuses is tried again for a time that depends on the refusal.
ALTER TABLE outbox ADD COLUMN refused_since timestamptz;
ALTER TABLE outbox ADD COLUMN refusal text NOT NULL DEFAULT '';

-- An issue that is not found is looked for again over an hour before its incident ends.
ALTER TABLE incident ADD COLUMN missing_since timestamptz;
ALTER TABLE incident ADD COLUMN missing_looked_at timestamptz;
ALTER TABLE incident ADD COLUMN missing_looks integer NOT NULL DEFAULT 0;

-- What GitHub refuses is shown on boards and found by the audit.
CREATE INDEX outbox_refused ON outbox (repo_id, number) WHERE refusal <> '';

-- The policy under which an incident could not be folded, so that the next best one was taken: see the audit.
ALTER TABLE policy ADD COLUMN previous_text text;
ALTER TABLE policy ADD COLUMN previous_base_text text;
ALTER TABLE policy ADD COLUMN failure text NOT NULL DEFAULT '';
ALTER TABLE policy ADD COLUMN failure_version text NOT NULL DEFAULT '';

-- Incidents whose processing failed or killed its worker, and when it is tried again.
CREATE TABLE failed_processing (
    repo_id bigint NOT NULL,
    number integer NOT NULL,
    failures integer NOT NULL,
    reason text NOT NULL,
    failed_at timestamptz NOT NULL,
    next_try_at timestamptz NOT NULL,
    PRIMARY KEY (repo_id, number)
);

-- Under which policy the rules failed with this incident, and which fallback it follows instead: `version:nth`.
ALTER TABLE incident ADD COLUMN policy_failure text NOT NULL DEFAULT '';
