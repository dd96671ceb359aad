"""Issue forms: parse form files, and the answers in the bodies that GitHub makes from them."""

from app.github.issue_form.form import Field, FieldKind, Form, FormValue
from app.github.issue_form.form_file import MAX_FORM_CHARS, FormFault, read_form
from app.github.issue_form.headings import Block, blocks
from app.github.issue_form.matching import fits, parse_body, parse_fitting

__all__ = [
    "MAX_FORM_CHARS",
    "Block",
    "Field",
    "FieldKind",
    "Form",
    "FormFault",
    "FormValue",
    "blocks",
    "fits",
    "parse_body",
    "parse_fitting",
    "read_form",
]
