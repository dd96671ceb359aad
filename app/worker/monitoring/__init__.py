"""Self-audit, gauges, retention and the state dump."""
