"""The domain rules as plain Python: no clock, network, SQL, templates or logging."""
