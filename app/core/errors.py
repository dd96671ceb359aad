"""The errors that the rules raise."""


class Refused(Exception):
    """A person asked for what the rules forbid.  The message is shown to them as it is; nothing has changed."""


class FoldTooLong(Exception):
    """A fold fires more alarms, or takes longer, than its budget allows."""
