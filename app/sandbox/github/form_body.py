"""The issue body that GitHub writes when an issue form is submitted."""

from __future__ import annotations

from collections.abc import Mapping

from app.github.issue_form import Field, Form, FormValue


def fill_form(form: Form, answers: Mapping[str, FormValue]) -> str:
    """Return the issue body for the answers, which are keyed and shaped as `parse_body` returns them.

    A missing answer is empty. A field without a label gets an empty heading. A fence stays three backticks long,
    whatever it contains.
    """
    pairs = zip(form.keys(), form.fields, strict=True)
    return "\n\n".join(
        f"### {field.label}".rstrip() + f"\n\n{_field_value(field, answers.get(key))}" for key, field in pairs
    )


def _field_value(field: Field, answer: FormValue) -> str:
    if field.kind == "checkboxes":
        return "\n".join(f"- [{'x' if checked else ' '}] {label}" for label, checked in _checkbox_states(field, answer))
    if field.render:
        return f"```{field.render}\n{answer or ''}\n```"
    if isinstance(answer, list):
        return ", ".join(str(chosen) for chosen in answer) or _empty_value(field)
    return answer if answer and answer.strip() else _empty_value(field)


def _empty_value(field: Field) -> str:
    return "None" if field.kind == "dropdown" and not field.required else "_No response_"


def _checkbox_states(field: Field, answer: FormValue) -> list[tuple[str, bool]]:
    ticks = [tick for tick in answer if isinstance(tick, dict)] if isinstance(answer, list) else []
    checked = {str(tick["label"]) for tick in ticks if tick["checked"]}
    return [(label, label in checked) for label in field.options]
