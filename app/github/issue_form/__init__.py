"""Issue forms: parse form files, and the answers in the bodies that GitHub makes from them."""

from app.github.issue_form.form import Field, FieldKind, Form, FormValue
from app.github.issue_form.form_file import MAX_FORM_CHARS, FormFault, read_form
from app.github.issue_form.headings import Block, split_blocks
from app.github.issue_form.matching import matches_form, parse_body, parse_exact_body

__all__ = [
    "MAX_FORM_CHARS",
    "Block",
    "Field",
    "FieldKind",
    "Form",
    "FormFault",
    "FormValue",
    "matches_form",
    "parse_body",
    "parse_exact_body",
    "read_form",
    "split_blocks",
]
