-- Watching itself.  What was said on an issue of late, so that too much is not: a comment by its id, and each time that
-- its labels were made right, by a digest of them.  Rows of more than a day are dropped as new ones come.
CREATE TABLE spoken (
    repo_id bigint      NOT NULL,
    number  bigint      NOT NULL,
    what    text        NOT NULL CHECK (what IN ('comment', 'labels')),
    which   bigint      NOT NULL,
    at      timestamptz NOT NULL
);
CREATE INDEX spoken_lane ON spoken (repo_id, number, what, at);
CREATE UNIQUE INDEX spoken_once ON spoken (repo_id, number, which) WHERE what = 'comment';

-- The issues on which comments are held back, and until when.
CREATE TABLE breaker (
    repo_id bigint      NOT NULL,
    number  bigint      NOT NULL,
    until   timestamptz NOT NULL,
    PRIMARY KEY (repo_id, number)
);

-- Incidents of people without rights, which nobody with rights has confirmed: when each asked to notify people, when it
-- did, and for which notice.  `held`: it waits.
CREATE TABLE stranger (
    repo_id  bigint      NOT NULL,
    number   bigint      NOT NULL,
    login    text        NOT NULL,
    asked_at timestamptz NOT NULL,
    said_at  timestamptz,
    said_key text        NOT NULL DEFAULT '',
    held     boolean     NOT NULL,
    PRIMARY KEY (repo_id, number)
);

-- The comment that tells of those that wait: one a repository and ten minutes, on the issue `number`.
CREATE TABLE digest (
    repo_id  bigint      PRIMARY KEY,
    number   bigint      NOT NULL,
    began_at timestamptz NOT NULL,
    comment  bigint
);

-- What the audit found wrong, as long as it is; `about` are the incidents it concerns.
CREATE TABLE concern (
    name     text        PRIMARY KEY,
    sentence text        NOT NULL,
    since    timestamptz NOT NULL,
    about    text[]      NOT NULL DEFAULT '{}'
);

ALTER TABLE delivery ADD COLUMN tries integer NOT NULL DEFAULT 0;
CREATE INDEX delivery_parked ON delivery (arrival) WHERE state = 'parked';
CREATE INDEX outbox_dead ON outbox (position) WHERE state = 'dead';
