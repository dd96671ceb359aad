"""The lifecycle of an incident: its statuses and the transitions between them.

Every change of status is a row of `TABLE`; nothing else changes a status.
Acting on an incident takes it, so every action but `reopen` may start from `triggered`.
"""

from __future__ import annotations

from enum import Enum

from app.core.errors import Refused


class Status(Enum):
    """The status of an incident, in order of the lifecycle (D2)."""

    TRIGGERED = "triggered"
    ACKNOWLEDGED = "acknowledged"
    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MITIGATED = "mitigated"
    RESOLVED = "resolved"
    VERIFIED = "verified"
    CLOSED = "closed"

    def __init__(self, value: str) -> None:
        self.open = value not in {"resolved", "verified", "closed"}
        """True while the service is not restored yet."""

    def __str__(self) -> str:
        return self.value


_T, _A, _INV, _ID, _M, _R, _V, _C = Status

TABLE: dict[str, dict[Status, Status]] = {
    "acknowledge": {_T: _A},
    "investigate": {_T: _INV, _A: _INV, _ID: _INV, _M: _INV},
    "identify": {_T: _ID, _A: _ID, _INV: _ID, _M: _ID},
    "mitigate": {_T: _M, _A: _M, _INV: _M, _ID: _M},
    "resolve": {_T: _R, _A: _R, _INV: _R, _ID: _R, _M: _R},
    "verify": {_R: _V},
    "close": {_T: _C, _A: _C, _INV: _C, _ID: _C, _M: _C, _R: _C, _V: _C},
    "reopen": {_R: _T, _V: _T, _C: _T},
}
"""Action, then the statuses it may start from, then the status it leads to."""


def next_status(status: Status, action: str) -> Status:
    """Return the status that `action` leads to from `status`.  Raises Refused, naming the actions that are allowed."""
    target = TABLE[action].get(status)
    if target is None:
        raise Refused(
            f"You cannot {action} an incident that is {status}. From here you can: "
            f"{', '.join(allowed_actions(status))}."
        )
    return target


def allowed_actions(status: Status) -> tuple[str, ...]:
    """Return the actions that may start from `status`."""
    return tuple(action for action, rows in TABLE.items() if status in rows)
