"""The error for commands that the rules forbid."""


class Refused(Exception):
    """A person asked for what the rules forbid.  The message is shown to them as it is; nothing has changed."""
