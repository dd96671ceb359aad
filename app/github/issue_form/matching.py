"""Match a body with the form that was filled in, and parse its answers.

A body has labels, never ids, and an answer may hold any text, also a line that looks like a heading.  So headings
are not looked up one by one: all candidate lines are scored together, and the best assignment is the one in which
every field of the form is present, in order, with a possible answer, because that is how GitHub writes.  Only if
there is none (the form has changed, or the body was edited) do looser rules apply.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from app.github.issue_form.answers import parse_answer
from app.github.issue_form.form import Form, FormValue, free_name
from app.github.issue_form.headings import split_blocks
from app.github.issue_form.lines import split_lines
from app.github.issue_form.page import FormBody, HeadingCandidate

_MAX_EXTRA_HEADINGS = 20


def parse_body(form: Form, body: str) -> dict[str, FormValue]:
    """Parse the answer to each field, under `form.keys()`; None where there is none.

    Unknown headings after a field that can only hold a choice or one line are kept under their own words.
    """
    form_body = FormBody(form, split_lines(body))
    headings = _exact_headings(form_body)
    if headings is not None:
        return _collect_answers(form, form_body, headings, is_exact=True)
    return _collect_answers(
        form, form_body, _choose_headings(form_body, form_body.loose_candidates(), strict=False), is_exact=False
    )


def parse_exact_body(form: Form, body: str) -> dict[str, FormValue] | None:
    """Parse a body that is exactly what GitHub writes for this form; None if it is not.

    Exactly means: every field, in order, with an answer that its kind allows.
    """
    form_body = FormBody(form, split_lines(body))
    headings = _exact_headings(form_body)
    if headings is None or not all(
        form_body.can_answer(candidate.field_index, candidate.answer_start, end)
        for candidate, end in _answer_spans(headings, form_body)
    ):
        return None
    return _collect_answers(form, form_body, headings, is_exact=True)


def matches_form(form: Form, body: str) -> bool:
    """Return True if the body is exactly what GitHub writes for this form."""
    return parse_exact_body(form, body) is not None


def _exact_headings(form_body: FormBody) -> list[HeadingCandidate] | None:
    """Return the headings of all fields as GitHub writes them, in the form's order; None if one is missing."""
    needed = {number for number, field in enumerate(form_body.fields) if field.label}
    candidates = [candidate for candidate in form_body.candidates if candidate.is_exact]
    if not needed or not needed <= {candidate.field_index for candidate in candidates}:
        return None
    headings = _choose_headings(form_body, candidates, strict=True)
    return headings if needed <= {candidate.field_index for candidate in headings} else None


def _collect_answers(
    form: Form, form_body: FormBody, headings: Sequence[HeadingCandidate], *, is_exact: bool
) -> dict[str, FormValue]:
    keys = form.keys()
    answers: dict[str, FormValue] = dict.fromkeys(keys)
    extra: list[tuple[str, str]] = []
    for candidate, end in _answer_spans(headings, form_body):
        stop = end if is_exact else form_body.answer_end(candidate.field_index, candidate.answer_start, end)
        answers[keys[candidate.field_index]] = parse_answer(
            form.fields[candidate.field_index], form_body.lines[candidate.answer_start : stop]
        )
        extra.extend((block.heading, block.text) for block in split_blocks("\n".join(form_body.lines[stop:end])))
    if len(extra) > _MAX_EXTRA_HEADINGS:
        rest = "\n\n".join(f"### {heading}\n\n{text}" for heading, text in extra[_MAX_EXTRA_HEADINGS:])
        extra = [*extra[:_MAX_EXTRA_HEADINGS], ("text", rest)]
    for heading, text in extra:
        answers[free_name(heading or "text", list(answers))] = text
    return answers


def _choose_headings(
    form_body: FormBody, candidates: Sequence[HeadingCandidate], *, strict: bool
) -> list[HeadingCandidate]:
    """Choose the most plausible headings among the candidates, at most one per field and in the form's order.

    The score counts, in this order: fields present, answers that suit their field, headings outside of the fences of
    the answer before, headings exactly as GitHub writes them, answers without a heading of their own field.
    """
    if strict and form_body.nonblank_lines:
        top = form_body.lines[form_body.nonblank_lines[0]]
        candidates = candidates if top.startswith("###") else []
    lines_by_field: dict[int, list[int]] = {}
    for candidate in candidates:
        lines_by_field.setdefault(candidate.field_index, []).append(candidate.line)

    def score(candidate: HeadingCandidate, end: int, ended_by: HeadingCandidate | None) -> int:
        stop = end if strict else form_body.answer_end(candidate.field_index, candidate.answer_start, end)
        repeated = bisect_left(lines_by_field[candidate.field_index], end) - bisect_left(
            lines_by_field[candidate.field_index], candidate.answer_start
        )
        is_visible = (
            ended_by is None
            or _is_whole_fence(form_body, candidate, end)
            or not form_body.is_hidden(candidate.answer_start, end)
        )
        ends_exactly = ended_by is not None and ended_by.is_exact
        suits = form_body.can_answer(candidate.field_index, candidate.answer_start, stop)
        return 10**15 + suits * 10**12 + is_visible * 10**9 + ends_exactly * 10**6 - repeated

    best: list[tuple[int, int]] = []  # per candidate: score of the best assignment that ends there, and its predecessor
    for number, candidate in enumerate(candidates):
        top_score = candidate.is_exact * 10**6 + (form_body.nonblank_lines[0] == candidate.line) * 10**12
        predecessor = -1
        for earlier in range(number):
            other = candidates[earlier]
            if other.field_index < candidate.field_index and other.answer_start <= candidate.line:
                value = best[earlier][0] + score(other, candidate.line, candidate)
                if value > top_score:
                    top_score, predecessor = value, earlier
        best.append((top_score, predecessor))
    if not best:
        return []
    end = len(form_body.lines)
    last = max(range(len(best)), key=lambda number: (best[number][0] + score(candidates[number], end, None), -number))
    headings: list[HeadingCandidate] = []
    while last >= 0:
        headings.append(candidates[last])
        last = best[last][1]
    return headings[::-1]


def _is_whole_fence(form_body: FormBody, heading: HeadingCandidate, end: int) -> bool:
    """Return True if the answer is the complete fence of a rendered field, whatever fences it contains."""
    return bool(form_body.fields[heading.field_index].render) and form_body.can_answer(
        heading.field_index, heading.answer_start, end
    )


def _answer_spans(headings: Sequence[HeadingCandidate], form_body: FormBody) -> Iterator[tuple[HeadingCandidate, int]]:
    ends = [candidate.line for candidate in headings[1:]] + [len(form_body.lines)]
    return zip(headings, ends, strict=False)
