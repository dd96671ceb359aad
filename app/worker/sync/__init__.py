"""Bring in what was missed, and compare the store with GitHub."""
