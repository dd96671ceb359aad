"""The status table (D2): every transition in it, and every one that is missing from it."""

from __future__ import annotations

import pytest

from app.core.errors import Refused
from app.core.lifecycle import TABLE, Status, allowed_actions, next_status

DRAWN_TABLE = """
             acknowledge   investigate   identify   mitigate  resolve  verify   close  reopen
triggered    acknowledged  investigating identified mitigated resolved -        closed -
acknowledged -             investigating identified mitigated resolved -        closed -
investigating -            -             identified mitigated resolved -        closed -
identified   -             investigating -          mitigated resolved -        closed -
mitigated    -             investigating identified -         resolved -        closed -
resolved     -             -             -          -         -        verified closed triggered
verified     -             -             -          -         -        -        closed triggered
closed       -             -             -          -         -        -        -      triggered
"""
_HEAD, *_ROWS = (line.split() for line in DRAWN_TABLE.strip().splitlines())
CELLS = [(row[0], action, to) for row in _ROWS for action, to in zip(_HEAD, row[1:], strict=True)]


@pytest.mark.parametrize(("status", "action", "to"), CELLS)
def test_every_cell(status: str, action: str, to: str) -> None:
    if to != "-":
        assert next_status(Status(status), action) is Status(to)
        return
    with pytest.raises(Refused, match=f"You cannot {action} an incident that is {status}. From here you can: "):
        next_status(Status(status), action)


def test_the_drawing_is_the_whole_table() -> None:
    assert list(TABLE) == _HEAD
    assert [row[0] for row in _ROWS] == [str(status) for status in Status]


def test_there_is_a_way_out_of_everything() -> None:
    assert all(allowed_actions(status) for status in Status)


def test_open_means_that_the_service_is_not_restored() -> None:
    assert [str(status) for status in Status if not status.open] == ["resolved", "verified", "closed"]
