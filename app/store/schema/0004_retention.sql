-- What has been worked off is found by its age when it has been kept long enough.
CREATE INDEX delivery_settled ON delivery (received_at) WHERE state IN ('taken', 'ignored');
