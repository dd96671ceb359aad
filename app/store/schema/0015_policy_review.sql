-- Reviews of policies, one a head commit of a pull request or of a push to the default branch (number 0): they run in a lane of
-- their own, so the inbox only records that one was asked for.  Of one number the newest `proposed_at` counts.
-- `attempts` counts starts without an end; `claimed_at` is when GitHub was last asked about it; `started_at` is when a process was last started for it, `reviewed_at` when that one
-- answered or was ended, after which this head is not tried again; `result` is the check run that waits to be published.  Until
-- `lease_until` a process is at work on it, and no other on any of the same installation.
CREATE TABLE policy_review (
    repo_id     bigint      NOT NULL,
    number      bigint      NOT NULL,
    head        text        NOT NULL,
    from_fork   boolean     NOT NULL,
    proposed_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    state       text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'reviewed', 'done')),
    not_before  timestamptz NOT NULL,
    lease_until timestamptz,
    attempts    integer     NOT NULL DEFAULT 0,
    claimed_at  timestamptz,
    started_at  timestamptz,
    reviewed_at timestamptz,
    announced   boolean     NOT NULL DEFAULT false,
    result      text        NOT NULL DEFAULT '',
    note        text        NOT NULL DEFAULT '',
    PRIMARY KEY (repo_id, number, head)
);
CREATE INDEX policy_review_unfinished ON policy_review (not_before) WHERE state <> 'done';
CREATE INDEX policy_review_leased ON policy_review (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX policy_review_claimed ON policy_review (claimed_at) WHERE claimed_at IS NOT NULL;

-- What the previous release had routed and not finished is routed again: the part about policies now goes into this table.
UPDATE delivery SET state = 'received' WHERE state = 'routed' AND event IN ('pull_request', 'push');
