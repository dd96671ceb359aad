-- Notices that go out by a channel too: a row of its own for each channel, worked off apart from GitHub's.
-- `channel` empty: the row is GitHub's.  `message` is what is sent, the same at every try.
ALTER TABLE outbox
    ADD COLUMN channel text NOT NULL DEFAULT '',
    ADD COLUMN message jsonb;
CREATE INDEX outbox_messages ON outbox (not_before) WHERE channel <> '' AND state IN ('waiting', 'trying');
