"""Run the reliability checks at full size and generate docs/reliability.md from the results: `make soak`."""
