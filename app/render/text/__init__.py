"""Plain text for chat and mail."""
