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
from app.github.issue_form.page import Page, Place

_MAX_EXTRA_HEADINGS = 20


def parse_body(form: Form, body: str) -> dict[str, FormValue]:
    """Parse the answer to each field, under `form.keys()`; None where there is none.

    Unknown headings after a field that can only hold a choice or one line are kept under their own words.
    """
    page = Page(form, split_lines(body))
    taken = _exact_headings(page)
    if taken is not None:
        return _collect_answers(form, page, taken, whole=True)
    return _collect_answers(form, page, _choose_headings(page, page.loose_candidates(), strict=False), whole=False)


def parse_exact_body(form: Form, body: str) -> dict[str, FormValue] | None:
    """Parse a body that is exactly what GitHub writes for this form; None if it is not.

    Exactly means: every field, in order, with an answer that its kind allows.
    """
    page = Page(form, split_lines(body))
    taken = _exact_headings(page)
    if taken is None or not all(
        page.can_answer(place.field, place.below, end) for place, end in _answer_spans(taken, page)
    ):
        return None
    return _collect_answers(form, page, taken, whole=True)


def matches_form(form: Form, body: str) -> bool:
    """Return True if the body is exactly what GitHub writes for this form."""
    return parse_exact_body(form, body) is not None


def _exact_headings(page: Page) -> list[Place] | None:
    """Return the headings of all fields as GitHub writes them, in the form's order; None if one is missing."""
    needed = {number for number, asked in enumerate(page.fields) if asked.label}
    places = [place for place in page.places if place.sure]
    if not needed or not needed <= {place.field for place in places}:
        return None
    taken = _choose_headings(page, places, strict=True)
    return taken if needed <= {place.field for place in taken} else None


def _collect_answers(form: Form, page: Page, taken: Sequence[Place], *, whole: bool) -> dict[str, FormValue]:
    keys = form.keys()
    answers: dict[str, FormValue] = dict.fromkeys(keys)
    kept: list[tuple[str, str]] = []
    for place, end in _answer_spans(taken, page):
        stop = end if whole else page.answer_end(place.field, place.below, end)
        answers[keys[place.field]] = parse_answer(form.fields[place.field], page.lines[place.below : stop])
        kept.extend((block.heading, block.text) for block in split_blocks("\n".join(page.lines[stop:end])))
    if len(kept) > _MAX_EXTRA_HEADINGS:
        rest = "\n\n".join(f"### {heading}\n\n{text}" for heading, text in kept[_MAX_EXTRA_HEADINGS:])
        kept = [*kept[:_MAX_EXTRA_HEADINGS], ("text", rest)]
    for heading, text in kept:
        answers[free_name(heading or "text", list(answers))] = text
    return answers


def _choose_headings(page: Page, places: Sequence[Place], *, strict: bool) -> list[Place]:
    """Choose the most plausible headings among the candidates, at most one per field and in the form's order.

    The score counts, in this order: fields present, answers that suit their field, headings outside of the fences of
    the answer before, headings exactly as GitHub writes them, answers without a heading of their own field.
    """
    if strict and page.solid:
        top = page.lines[page.solid[0]]
        places = places if top.startswith("###") else []
    lines_of: dict[int, list[int]] = {}
    for place in places:
        lines_of.setdefault(place.field, []).append(place.line)

    def worth(place: Place, end: int, ended_by: Place | None) -> int:
        stop = end if strict else page.answer_end(place.field, place.below, end)
        again = bisect_left(lines_of[place.field], end) - bisect_left(lines_of[place.field], place.below)
        seen = ended_by is None or _is_whole_fence(page, place, end) or not page.is_hidden(place.below, end)
        sure = ended_by is not None and ended_by.sure
        suits = page.can_answer(place.field, place.below, stop)
        return 10**15 + suits * 10**12 + seen * 10**9 + sure * 10**6 - again

    best: list[tuple[int, int]] = []  # per candidate: score of the best assignment that ends there, and its predecessor
    for number, place in enumerate(places):
        top_worth, before = place.sure * 10**6 + (page.solid[0] == place.line) * 10**12, -1
        for earlier in range(number):
            other = places[earlier]
            if other.field < place.field and other.below <= place.line:
                value = best[earlier][0] + worth(other, place.line, place)
                if value > top_worth:
                    top_worth, before = value, earlier
        best.append((top_worth, before))
    if not best:
        return []
    end = len(page.lines)
    last = max(range(len(best)), key=lambda number: (best[number][0] + worth(places[number], end, None), -number))
    taken: list[Place] = []
    while last >= 0:
        taken.append(places[last])
        last = best[last][1]
    return taken[::-1]


def _is_whole_fence(page: Page, place: Place, end: int) -> bool:
    """Return True if the answer is the complete fence of a rendered field, whatever fences it contains."""
    return bool(page.fields[place.field].render) and page.can_answer(place.field, place.below, end)


def _answer_spans(taken: Sequence[Place], page: Page) -> Iterator[tuple[Place, int]]:
    ends = [place.line for place in taken[1:]] + [len(page.lines)]
    return zip(taken, ends, strict=False)
