"""The Incident Report form that comes with Muster."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from app.github.issue_form import Form, blocks, read_form

_ENOUGH = 5
"""So many of the shipped form's headings make a body an Incident Report."""


@cache
def shipped_form_text() -> str:
    """The file as people copy it to `.github/ISSUE_TEMPLATE`."""
    return files("app.github").joinpath("data/incident-report.yml").read_text("utf-8")


@cache
def shipped_form() -> Form:
    """What it asks."""
    return read_form(shipped_form_text())


def is_incident_report(body: str) -> bool:
    """Whether a body comes from the shipped form: GitHub drops the form's label where the repository has none such."""
    headings = {block.heading for block in blocks(body)}
    labels = [field.label for field in shipped_form().fields if field.label]
    return sum(label in headings for label in labels) >= _ENOUGH
