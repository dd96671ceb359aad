"""Issue forms: parse form files, and the answers in the bodies that GitHub makes from them."""

from app.github.issue_form.form import Answer, Field, FieldKind, Form
from app.github.issue_form.form_file import FORM_LIMIT, FormFault, read_form
from app.github.issue_form.headings import Block, blocks
from app.github.issue_form.matching import fits, parse_body, parse_fitting

__all__ = [
    "FORM_LIMIT",
    "Answer",
    "Block",
    "Field",
    "FieldKind",
    "Form",
    "FormFault",
    "blocks",
    "fits",
    "parse_body",
    "parse_fitting",
    "read_form",
]
