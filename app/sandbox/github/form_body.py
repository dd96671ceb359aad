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
        f"### {asked.label}".rstrip() + f"\n\n{_field_value(asked, answers.get(key))}" for key, asked in pairs
    )


def _field_value(asked: Field, answer: FormValue) -> str:
    if asked.kind == "checkboxes":
        return "\n".join(f"- [{'x' if checked else ' '}] {label}" for label, checked in _checkbox_states(asked, answer))
    if asked.render:
        return f"```{asked.render}\n{answer or ''}\n```"
    if isinstance(answer, list):
        return ", ".join(str(chosen) for chosen in answer) or _empty_value(asked)
    return answer if answer and answer.strip() else _empty_value(asked)


def _empty_value(asked: Field) -> str:
    return "None" if asked.kind == "dropdown" and not asked.required else "_No response_"


def _checkbox_states(asked: Field, answer: FormValue) -> list[tuple[str, bool]]:
    ticks = [tick for tick in answer if isinstance(tick, dict)] if isinstance(answer, list) else []
    checked = {str(tick["label"]) for tick in ticks if tick["checked"]}
    return [(label, label in checked) for label in asked.options]
