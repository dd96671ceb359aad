"""Benchmarks of the figures that Muster promises: `make bench`."""
