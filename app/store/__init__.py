"""PostgreSQL: the inbox, the incidents with their log, the alarms and the outbox."""
