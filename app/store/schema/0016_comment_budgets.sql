-- The budget that each of our comments used; those that a process of the previous release writes count as ordinary.
ALTER TABLE comment_log ADD COLUMN budget text NOT NULL DEFAULT 'ordinary'
    CHECK (budget IN ('urgent', 'ordinary', 'outsiders'));

-- Notifications of the last minutes about incidents that no responder has confirmed: what one channel may get is limited.
-- `channel` is empty for comments, and `key` is that of the first notice.
CREATE TABLE unconfirmed_message (
    repo_id bigint      NOT NULL,
    number  bigint      NOT NULL,
    channel text        NOT NULL,
    key     text        NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (repo_id, number, channel, key)
);
CREATE INDEX unconfirmed_message_channel ON unconfirmed_message (repo_id, channel, at);
