-- The file of an organisation stands beside those of its repositories, under the id of its installation.
-- `base_text` is the organisation's file that the file of a repository was read with, so that both stay in force together;
-- `judged` is a digest of the two newest files that were weighed, so that each pair is weighed once.
ALTER TABLE policy RENAME COLUMN repo_id TO id;
ALTER TABLE policy
    ADD COLUMN place     text NOT NULL DEFAULT 'repository' CHECK (place IN ('repository', 'organisation')),
    ADD COLUMN base_text text,
    ADD COLUMN judged    text NOT NULL DEFAULT '',
    DROP CONSTRAINT policy_pkey,
    ADD PRIMARY KEY (place, id);
CREATE INDEX repository_installation ON repository (installation);

-- On-call feeds: what was last read of each, and why not of late.  `place` is whose repository a path stands in, or
-- 'anywhere' for an address.  `shifts` are the events of `body` from `read_at` on; `failing_since` is when it last went wrong.
CREATE TABLE feed (
    place         text        NOT NULL CHECK (place IN ('repository', 'organisation', 'anywhere')),
    id            bigint      NOT NULL,
    source        text        NOT NULL,
    body          bytea,
    digest        text        NOT NULL DEFAULT '',
    etag          text        NOT NULL DEFAULT '',
    shifts        jsonb,
    read_at       timestamptz,
    checked_at    timestamptz,
    fault         text        NOT NULL DEFAULT '',
    failing_since timestamptz,
    doubts        integer     NOT NULL DEFAULT 0,
    PRIMARY KEY (place, id, source)
);
