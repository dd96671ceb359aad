"""The error of a setting."""

from __future__ import annotations


class SettingsFault(Exception):
    """A setting that cannot be used; the message says which, and what would work."""
