"""What a person is told when the rules forbid what they asked for."""


class Refused(Exception):
    """A person asked for what the rules forbid.  The message is shown to them as it is; nothing has changed."""
