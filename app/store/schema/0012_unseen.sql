-- Until `unseen_until` what was sent without an answer may still arrive: it may be looked for, and is not sent again.
ALTER TABLE outbox ADD COLUMN unseen_until timestamptz;
