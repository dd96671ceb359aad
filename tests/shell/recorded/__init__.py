"""Recorded nights of earlier releases, and the tests that read them with today's program."""
