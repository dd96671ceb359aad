"""Muster: GitHub Issues as an incident desk."""
