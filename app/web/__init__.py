"""The HTTP server: the webhook receiver, health checks and metrics."""
