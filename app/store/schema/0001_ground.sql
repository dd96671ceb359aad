-- Every time in these tables is UTC and comes from the caller: the database has no clock of its own here.

CREATE TABLE delivery (
    hook        text        NOT NULL,
    guid        text        NOT NULL,
    event       text        NOT NULL,
    body        bytea       NOT NULL,
    digest      bytea       NOT NULL,
    received_at timestamptz NOT NULL,
    arrival     bigint      GENERATED ALWAYS AS IDENTITY,
    state       text        NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'sorted', 'taken', 'ignored', 'parked')),
    repo_id     bigint,
    number      bigint,
    note        text,
    PRIMARY KEY (hook, guid)
);
CREATE INDEX delivery_new ON delivery (arrival) WHERE state = 'new';
CREATE INDEX delivery_sorted ON delivery (repo_id, number, arrival) WHERE state = 'sorted';

CREATE TABLE repository (
    repo_id        bigint PRIMARY KEY,
    name           text   NOT NULL,
    installation   bigint NOT NULL,
    default_branch text   NOT NULL
);

CREATE TABLE incident (
    repo_id     bigint      NOT NULL,
    number      bigint      NOT NULL,
    state       jsonb       NOT NULL,
    lived_until timestamptz NOT NULL,
    labels      text[]      NOT NULL DEFAULT '{}',
    labels_at   timestamptz,
    board_id    bigint,
    board_url   text,
    PRIMARY KEY (repo_id, number)
);

-- The log: what happened, in GitHub's own names and times.  An incident is the fold of its rows.
CREATE TABLE event (
    repo_id bigint      NOT NULL,
    number  bigint      NOT NULL,
    key     text        NOT NULL,
    at      timestamptz NOT NULL,
    kind    text        NOT NULL,
    data    jsonb       NOT NULL,
    PRIMARY KEY (repo_id, number, key)
);

CREATE TABLE alarm (
    repo_id bigint      NOT NULL,
    number  bigint      NOT NULL,
    key     text        NOT NULL,
    due     timestamptz NOT NULL,
    PRIMARY KEY (repo_id, number, key)
);
CREATE INDEX alarm_due ON alarm (due);

-- What is to be done.  `key` says once; a row of the slot `labels` or `board` shows the latest.
CREATE TABLE outbox (
    position   bigint      GENERATED ALWAYS AS IDENTITY,
    repo_id    bigint      NOT NULL,
    number     bigint      NOT NULL,
    key        text        NOT NULL,
    kind       text        NOT NULL,
    data       jsonb       NOT NULL,
    state      text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'trying', 'done', 'moot', 'dead')),
    attempts   integer     NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    not_before timestamptz NOT NULL,
    url        text        NOT NULL DEFAULT '',
    note       text        NOT NULL DEFAULT '',
    PRIMARY KEY (repo_id, number, key)
);
CREATE INDEX outbox_undone ON outbox (not_before) WHERE state IN ('waiting', 'trying');

-- Incident ids: one row a repository and day, so that a number is given once, also by two workers.
CREATE TABLE incident_number (
    repo_id bigint  NOT NULL,
    day     date    NOT NULL,
    last    integer NOT NULL,
    PRIMARY KEY (repo_id, day)
);

-- The policy in force, and what is wrong with a newer one.
CREATE TABLE policy (
    repo_id    bigint      PRIMARY KEY,
    text       text,
    etag       text        NOT NULL DEFAULT '',
    fault      text        NOT NULL DEFAULT '',
    fault_text text        NOT NULL DEFAULT '',
    checked_at timestamptz
);
