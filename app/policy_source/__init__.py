"""Which policy and which on-call feeds are active."""
