"""Nights as they were recorded, and the tests that read them with the program of today."""
