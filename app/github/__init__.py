"""GitHub: signatures, deliveries, issue forms, and everything we say to its API."""
