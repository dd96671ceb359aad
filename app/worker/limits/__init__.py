"""Limit what is posted: our own comments, and pages by unconfirmed reports."""
