"""Limits on what is posted: comments of ours, and pages by unconfirmed reports."""
