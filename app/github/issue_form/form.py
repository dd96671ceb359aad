"""The fields of an issue form, and the type of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

FieldKind: TypeAlias = Literal["input", "textarea", "dropdown", "checkboxes"]
FormValue: TypeAlias = "str | list[str] | list[dict[str, str | bool]] | None"
TRUE_WORDS = frozenset({"yes", "on", "true"})
FALSE_WORDS = frozenset({"no", "off", "false"})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form.

    `label` is empty where the file has none; `render` is the language of the answer's code fence, or empty.
    """

    id: str | None
    label: str
    kind: FieldKind = "textarea"
    options: tuple[str, ...] = ()
    multiple: bool = False
    render: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """A form with its fields in order.  `markdown` blocks are left out, as they are in the body."""

    name: str = ""
    title: str = ""
    labels: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()

    def keys(self) -> tuple[str, ...]:
        """Return a distinct key per field: its id, else its label; a second one of the same name is `name (2)`."""
        taken: list[str] = []
        for number, field in enumerate(self.fields, 1):
            taken.append(free_name(field.id or field.label or f"field {number}", taken))
        return tuple(taken)


def free_name(name: str, taken: Sequence[str]) -> str:
    """Return the name, or `name (2)` and so on if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free
