-- A repository is known by its id: its name may be another's by now, and a delivery may name an installation that is not
-- its own.  `claimed_installation` is what a delivery named and GitHub has not confirmed; from `locate_at` on GitHub is
-- asked which installation and name the repository has; null: there is nothing to ask.  `located_at` is when it last was.
ALTER TABLE repository
    ADD COLUMN claimed_installation bigint,
    ADD COLUMN locate_at timestamptz,
    ADD COLUMN located_at timestamptz;

-- Alarms of repositories whose access was taken away: they are given back with it.
CREATE TABLE suspended_alarm (
    repo_id bigint      NOT NULL,
    number  bigint      NOT NULL,
    key     text        NOT NULL,
    due     timestamptz NOT NULL,
    PRIMARY KEY (repo_id, number, key)
);

-- Issues whose texts are erased, or will be from `erase_at` on: deleted on GitHub, or forgotten by the operator.
-- `incident_id`, `regulatory` and `text_hashes` are what stays: the deadlines that a regulation sets, with their times, and
-- for each erased text a hash with `salt`, by which a person who has the text can show that it is the one.
CREATE TABLE tombstone (
    repo_id     bigint      NOT NULL,
    number      bigint      NOT NULL,
    reason      text        NOT NULL CHECK (reason IN ('deleted', 'forgotten')),
    recorded_at timestamptz NOT NULL,
    erase_at    timestamptz NOT NULL,
    erased_at   timestamptz,
    incident_id text        NOT NULL DEFAULT '',
    regulatory  jsonb       NOT NULL DEFAULT '{}',
    salt        bytea       NOT NULL DEFAULT '',
    text_hashes jsonb       NOT NULL DEFAULT '{}',
    PRIMARY KEY (repo_id, number)
);
CREATE INDEX tombstone_due ON tombstone (erase_at) WHERE erased_at IS NULL;
