"""Route deliveries, process incidents, relay the outbox and stay in sync with GitHub."""
