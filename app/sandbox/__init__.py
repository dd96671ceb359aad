"""What runs without an account: the sandbox GitHub, the demo on it, and serving beside it."""
