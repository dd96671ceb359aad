"""The steps: sort a delivery, wake an incident, perform what it ordered, and rebuild everything from GitHub."""
