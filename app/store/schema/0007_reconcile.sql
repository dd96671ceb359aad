-- What was missed is found by the id of a delivery, whichever hook it came by.
CREATE INDEX delivery_guid ON delivery (guid);

-- Deliveries about an issue that was no incident (yet): they are taken again when it turns out to be one.
CREATE INDEX delivery_early ON delivery (repo_id, number) WHERE note = 'no incident';

-- When each part of reconciliation was last done; `etag` is what GitHub called the newest page of its delivery list,
-- `about` the incidents that differed.
CREATE TABLE reconciled (
    part text        PRIMARY KEY,
    at   timestamptz NOT NULL,
    etag text        NOT NULL DEFAULT '',
    about text[]     NOT NULL DEFAULT '{}'
);

-- `behind_since`: what happened to its issues since then has not been compared with GitHub; null: nothing is owed.
ALTER TABLE repository ADD COLUMN behind_since timestamptz;

-- When an incident was last compared with GitHub in full.
ALTER TABLE incident ADD COLUMN compared_at timestamptz;
