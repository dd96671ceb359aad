-- Who may carry out an order: each attempt has a token of its own, and the one before it counts no more.  Until `held_until`
-- nobody else begins: the attempt may still be under way, or what it sent may still arrive at the other side.
ALTER TABLE outbox
    ADD COLUMN token      bigint      NOT NULL DEFAULT 0,
    ADD COLUMN held_until timestamptz;
