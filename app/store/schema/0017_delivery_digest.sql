-- Whether a body was taken before is asked for each delivery.
CREATE INDEX delivery_digest ON delivery (digest);
