-- Plain names for tables, columns and states; the data stays as it is.  JSON inside columns is not rewritten.
-- `delivery` is the last table, so that it is locked for the shortest time.  It keeps its name and the columns hook, guid, event,
-- body, digest and received_at: web processes of the previous release go on inserting them, and get the new default state.

-- Repositories from which the App was uninstalled: since when, and when they are checked next before their data is deleted.
ALTER TABLE departed RENAME TO uninstalled_repository;
ALTER TABLE uninstalled_repository RENAME COLUMN at TO uninstalled_at;
ALTER TABLE uninstalled_repository RENAME COLUMN look_at TO check_at;
ALTER INDEX departed_pkey RENAME TO uninstalled_repository_pkey;

-- Recent writes per issue: `item_id` is the id of a comment, or a digest of the labels that were set.
ALTER TABLE spoken RENAME TO comment_log;
ALTER TABLE comment_log RENAME COLUMN what TO kind;
ALTER TABLE comment_log RENAME COLUMN which TO item_id;
ALTER TABLE comment_log RENAME CONSTRAINT spoken_what_check TO comment_log_kind_check;
ALTER INDEX spoken_lane RENAME TO comment_log_incident;
ALTER INDEX spoken_once RENAME TO comment_log_comment_once;

-- Issues on which comments are limited, and until when.
ALTER TABLE breaker RENAME TO comment_limit;
ALTER INDEX breaker_pkey RENAME TO comment_limit_pkey;

-- Reports of people without rights that were not confirmed: when each last asked to notify people, when it last did and for
-- which notice, and whether it is throttled.
ALTER TABLE stranger RENAME TO unconfirmed_report;
ALTER TABLE unconfirmed_report RENAME COLUMN asked_at TO requested_at;
ALTER TABLE unconfirmed_report RENAME COLUMN said_at TO notified_at;
ALTER TABLE unconfirmed_report RENAME COLUMN said_key TO last_admitted_key;
ALTER TABLE unconfirmed_report RENAME COLUMN held TO throttled;
ALTER INDEX stranger_pkey RENAME TO unconfirmed_report_pkey;

-- The comment that lists throttled reports: one a repository and ten minutes, on the issue `number`.
ALTER TABLE digest RENAME TO unconfirmed_digest;
ALTER TABLE unconfirmed_digest RENAME COLUMN began_at TO started_at;
ALTER TABLE unconfirmed_digest RENAME COLUMN comment TO comment_id;
ALTER INDEX digest_pkey RENAME TO unconfirmed_digest_pkey;

-- Problems found by the audit, as long as they last; `incident_keys` are the incidents each concerns.
ALTER TABLE concern RENAME TO audit_finding;
ALTER TABLE audit_finding RENAME COLUMN sentence TO message;
ALTER TABLE audit_finding RENAME COLUMN about TO incident_keys;
ALTER INDEX concern_pkey RENAME TO audit_finding_pkey;

-- When each part of the sync was last done; `incident_keys` are the incidents that differed from GitHub.
ALTER TABLE reconciled RENAME TO sync_checkpoint;
ALTER TABLE sync_checkpoint RENAME COLUMN part TO name;
ALTER TABLE sync_checkpoint RENAME COLUMN about TO incident_keys;
ALTER INDEX reconciled_pkey RENAME TO sync_checkpoint_pkey;

-- GitHub rate limits per installation: `creation_times` are those of the last hour, as seconds since 1970;
-- `points_by_second` pairs a second of the last minute and its points; until `paused_until` GitHub wants no calls, and
-- `consecutive_limits` counts how often in a row it did not say how long; `deferred_until` is the next turn of a call that
-- was deferred.
ALTER TABLE pace RENAME TO rate_limit;
ALTER TABLE rate_limit RENAME COLUMN wrote_at TO last_write_at;
ALTER TABLE rate_limit RENAME COLUMN created TO creation_times;
ALTER TABLE rate_limit RENAME COLUMN spent TO points_by_second;
ALTER TABLE rate_limit RENAME COLUMN quiet_until TO paused_until;
ALTER TABLE rate_limit RENAME COLUMN strikes TO consecutive_limits;
ALTER TABLE rate_limit RENAME COLUMN held_until TO deferred_until;
ALTER TABLE rate_limit RENAME COLUMN budget_left TO budget_remaining;
ALTER TABLE rate_limit RENAME COLUMN budget_reset TO budget_resets_at;
ALTER INDEX pace_pkey RENAME TO rate_limit_pkey;

-- `push_count` counts the pushes that touched a file; `reported_faults` are the faulty versions that were reported;
-- `evaluated_versions` names the two newest files that were evaluated together.
ALTER TABLE policy RENAME COLUMN place TO scope;
ALTER TABLE policy RENAME COLUMN told TO reported_faults;
ALTER TABLE policy RENAME COLUMN doubts TO push_count;
ALTER TABLE policy RENAME COLUMN judged TO evaluated_versions;
ALTER TABLE policy RENAME CONSTRAINT policy_place_check TO policy_scope_check;
ALTER TABLE feed RENAME COLUMN place TO scope;
ALTER TABLE feed RENAME COLUMN doubts TO push_count;
ALTER TABLE feed RENAME CONSTRAINT feed_place_check TO feed_scope_check;

-- Changes on GitHub since `catch_up_since` may have been missed; null: none.
ALTER TABLE repository RENAME COLUMN behind_since TO catch_up_since;

-- Alarms due up to `replayed_until` have fired.  The generated column `severity` reads `state` and is not affected.
ALTER TABLE incident RENAME COLUMN lived_until TO replayed_until;

-- Outbox: only unfinished and skipped rows change, those that are done stay untouched.
-- Each attempt has a `fencing_token`; until `lease_until` no other attempt starts; until `may_arrive_until` a request that
-- got no answer may still arrive.
DROP INDEX outbox_undone, outbox_messages, outbox_oldest_message;
ALTER TABLE outbox RENAME COLUMN token TO fencing_token;
ALTER TABLE outbox RENAME COLUMN held_until TO lease_until;
ALTER TABLE outbox RENAME COLUMN unseen_until TO may_arrive_until;
ALTER TABLE outbox DROP CONSTRAINT outbox_state_check, ALTER COLUMN state SET DEFAULT 'pending';
UPDATE outbox
    SET state = CASE state WHEN 'waiting' THEN 'pending' WHEN 'trying' THEN 'in_flight' ELSE 'skipped' END
    WHERE state IN ('waiting', 'trying', 'moot');
ALTER TABLE outbox ADD CONSTRAINT outbox_state_check CHECK (state IN ('pending', 'in_flight', 'done', 'skipped', 'dead'));
CREATE INDEX outbox_unfinished ON outbox (not_before) WHERE channel = '' AND state IN ('pending', 'in_flight');
CREATE INDEX outbox_unsent_messages ON outbox (repo_id, channel, not_before, position)
    WHERE channel <> '' AND state IN ('pending', 'in_flight');
CREATE INDEX outbox_oldest_message ON outbox (created_at) WHERE channel <> '' AND state IN ('pending', 'in_flight');

-- Inbox: with the partial indexes on the state dropped first, no index covers it, so the update can stay within its pages.
DROP INDEX delivery_new, delivery_sorted, delivery_settled, delivery_parked;
ALTER INDEX delivery_early RENAME TO delivery_without_incident;
ALTER TABLE delivery RENAME COLUMN tries TO attempts;
ALTER TABLE delivery DROP CONSTRAINT delivery_state_check, ALTER COLUMN state SET DEFAULT 'received';
UPDATE delivery
    SET state = CASE state
        WHEN 'new' THEN 'received' WHEN 'sorted' THEN 'routed' WHEN 'taken' THEN 'processed' ELSE 'dead' END
    WHERE state IN ('new', 'sorted', 'taken', 'parked');
ALTER TABLE delivery
    ADD CONSTRAINT delivery_state_check CHECK (state IN ('received', 'routed', 'processed', 'ignored', 'dead'));
CREATE INDEX delivery_received ON delivery (arrival) WHERE state = 'received';
CREATE INDEX delivery_routed ON delivery (repo_id, number, arrival) WHERE state = 'routed';
CREATE INDEX delivery_finished ON delivery (received_at) WHERE state IN ('processed', 'ignored');
CREATE INDEX delivery_dead ON delivery (arrival) WHERE state = 'dead';

-- From PostgreSQL 18 on, NOT NULL constraints have names of their own, which a renamed table or column leaves behind.
DO $$
DECLARE
    old record;
BEGIN
    FOR old IN
        SELECT c.conrelid::regclass AS relation, c.conname, format('%s_%s_not_null', t.relname, a.attname) AS plain
        FROM pg_constraint c
        JOIN pg_class t ON t.oid = c.conrelid
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'n' AND t.relnamespace = current_schema()::regnamespace
            AND t.relname NOT LIKE 'procrastinate%'
            AND c.conname <> format('%s_%s_not_null', t.relname, a.attname)
    LOOP
        EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', old.relation, old.conname, old.plain);
    END LOOP;
END
$$;
