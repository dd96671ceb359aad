"""Developer tools that `make` runs: generated pages, checks and measurements; no part of Muster itself."""
