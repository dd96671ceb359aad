"""Read an Incident Report: the shipped form first, any other form by the wording of its headings.

Nothing is guessed.  What cannot be understood stays unanswered and is named in the report's `doubts`, in words the
reporter can act on.  A severity is an exact match with a short list of names: no look-alikes, no folding
(M11-M13).
"""

from app.github.intake.report import read_report
from app.github.intake.shipped import is_incident_report, shipped_form, shipped_form_text

__all__ = ["is_incident_report", "read_report", "shipped_form", "shipped_form_text"]
