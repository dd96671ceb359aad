"""PostgreSQL storage: the inbox, the incidents with their event log, the alarms and the outbox."""
