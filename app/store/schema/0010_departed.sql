-- Repositories that the App was taken off, until nothing of them is left here: since when, and when they are looked at next.
CREATE TABLE departed (
    repo_id      bigint      PRIMARY KEY,
    installation bigint      NOT NULL,
    name         text        NOT NULL,
    at           timestamptz NOT NULL,
    look_at      timestamptz NOT NULL
);
CREATE INDEX delivery_repository ON delivery (repo_id) WHERE repo_id IS NOT NULL;
