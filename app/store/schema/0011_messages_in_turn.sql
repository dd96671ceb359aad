-- However many wait, those of each channel of a repository are found in their order, and so is the oldest of all; what is
-- for GitHub is found without them.
DROP INDEX outbox_undone;
DROP INDEX outbox_messages;
CREATE INDEX outbox_undone ON outbox (not_before) WHERE channel = '' AND state IN ('waiting', 'trying');
CREATE INDEX outbox_messages ON outbox (repo_id, channel, not_before, position)
    WHERE channel <> '' AND state IN ('waiting', 'trying');
CREATE INDEX outbox_oldest_message ON outbox (created_at) WHERE channel <> '' AND state IN ('waiting', 'trying');
