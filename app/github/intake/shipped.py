"""The Incident Report form that comes with Muster."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from app.github.issue_form import Form, read_form, split_blocks

_MIN_HEADINGS = 5
"""Number of the shipped form's headings that make a body an Incident Report."""


@cache
def shipped_form_text() -> str:
    """Return the form file as users copy it to `.github/ISSUE_TEMPLATE`."""
    return files("app.github").joinpath("data/incident-report.yml").read_text("utf-8")


@cache
def shipped_form() -> Form:
    """Return the shipped form."""
    return read_form(shipped_form_text())


def is_incident_report(body: str) -> bool:
    """Return True if the body comes from the shipped form.

    The label is no sure sign: GitHub drops the form's label where the repository has none of that name.
    """
    headings = {block.heading for block in split_blocks(body)}
    labels = [field.label for field in shipped_form().fields if field.label]
    return sum(label in headings for label in labels) >= _MIN_HEADINGS
