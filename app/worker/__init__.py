"""Worker: routes deliveries, processes incidents, relays the outbox and keeps in sync with GitHub."""
