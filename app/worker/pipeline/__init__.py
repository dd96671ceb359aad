"""Route a delivery, process its incident, relay the outbox."""
