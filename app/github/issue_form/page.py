"""Find candidate headings of a form's fields in a body, and test which lines can be an answer."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from app.github.issue_form.answers import CHECKBOX, NO_RESPONSE, match_options
from app.github.issue_form.form import Form
from app.github.issue_form.lines import find_fence_lines, hidden_spans, is_fence_pair, is_within

_MAX_CANDIDATES = 100


@dataclass(frozen=True, slots=True)
class HeadingCandidate:
    """A line that may be the heading of a field.

    `field_index` is the field's position in the form.  `answer_start` is the line after the heading; `is_exact`: GitHub
    may have written the heading this way.
    """

    line: int
    answer_start: int
    field_index: int
    is_exact: bool


class FormBody:
    """A form's fields and the lines of a body, indexed for repeated questions: nonblank, hidden, checkbox."""

    def __init__(self, form: Form, lines: list[str]) -> None:
        self.fields = form.fields
        self.lines = lines
        self.nonblank_lines = [number for number, line in enumerate(lines) if line and not line.isspace()]
        self.checkbox_lines = [number for number in self.nonblank_lines if CHECKBOX.match(lines[number])]
        self.fence_lines = find_fence_lines(lines)
        self.candidates = self._find_candidates()
        self._hidden_spans: dict[int, list[tuple[int, int]]] = {}

    def _find_candidates(self) -> list[HeadingCandidate]:
        by_exact_label: dict[str, list[int]] = {}
        by_normal_label: dict[str, list[int]] = {}
        for number, form_field in enumerate(self.fields):
            first, *_ = form_field.label.split("\n")
            by_exact_label.setdefault(first.strip(), []).append(number)
            for name in (
                {_normalize_label(first)} if first else {"", "none", "null", _normalize_label(form_field.id or "")}
            ):
                by_normal_label.setdefault(name, []).append(number)
        fields_of: dict[str, list[int]] = {}
        candidates: list[HeadingCandidate] = []
        for line in self.nonblank_lines:
            heading = self.lines[line]
            if not heading.startswith("###") or heading[3:4] not in {"", " ", "\t"}:
                continue
            heading_text = heading[3:].strip()
            if len(heading_text) > 4000:
                continue
            if heading_text not in fields_of:
                fields_of[heading_text] = by_normal_label.get(_normalize_label(heading_text), [])
            for number in fields_of[heading_text]:
                label_rest = [part.strip() for part in self.fields[number].label.split("\n")[1:]]
                answer_start = line + 1 + len(label_rest)
                if label_rest and [part.strip() for part in self.lines[line + 1 : answer_start]] != label_rest:
                    continue
                is_exact = number in by_exact_label.get(heading_text, ()) and self._is_isolated(line, answer_start)
                candidates.append(HeadingCandidate(line, answer_start, number, is_exact))
        return self._limit_candidates(candidates)

    def _is_isolated(self, line: int, answer_start: int) -> bool:
        """Return True if the heading stands between blank lines, as GitHub writes it."""
        before = line == 0 or not self.lines[line - 1].strip() or bisect_left(self.nonblank_lines, line) == 0
        return before and (answer_start >= len(self.lines) or not self.lines[answer_start].strip())

    def _limit_candidates(self, candidates: list[HeadingCandidate]) -> list[HeadingCandidate]:
        """Keep only the first and last few candidates per field, so that scoring a stuffed body stays cheap."""
        if len(candidates) <= _MAX_CANDIDATES:
            return candidates
        keep = max(1, _MAX_CANDIDATES // (2 * len(self.fields)))
        by_field: dict[int, list[HeadingCandidate]] = {}
        for candidate in candidates:
            by_field.setdefault(candidate.field_index, []).append(candidate)
        limited = {candidate for found in by_field.values() for candidate in (*found[:keep], *found[-keep:])}
        return sorted(limited, key=lambda candidate: (candidate.line, candidate.field_index))

    def loose_candidates(self) -> list[HeadingCandidate]:
        """Return the candidates outside of fences and comments, for a body that is not as GitHub writes it."""
        # A fence or comment that is never closed hides nothing.
        hidden = [span for span in hidden_spans(self.fence_lines) if span[1] < len(self.lines)]
        return [candidate for candidate in self.candidates if not is_within(hidden, candidate.line)]

    def is_hidden(self, start: int, line: int) -> bool:
        """Return True if `line` is in a fence or comment that begins at `start` or later.

        An answer is not affected by what was opened before it.
        """
        if not self.fence_lines:
            return False
        if len(self.fence_lines) * len(self.candidates) > 15_000:
            start = 0
        if start not in self._hidden_spans:
            first = bisect_left(self.fence_lines, start, key=lambda marker: marker[0])
            self._hidden_spans[start] = hidden_spans(self.fence_lines[first:])
        return is_within(self._hidden_spans[start], line)

    def answer_end(self, field_index: int, start: int, end: int) -> int:
        """Return the line at which the answer ends: the first heading below it, if it cannot contain one."""
        form_field = self.fields[field_index]
        if form_field.kind == "textarea":
            return end
        first = bisect_left(self.nonblank_lines, start)
        for number in self.nonblank_lines[first : first + 200]:
            if number >= end:
                break
            if self.lines[number].startswith("### "):
                return number
        return end

    def can_answer(self, field_index: int, start: int, end: int) -> bool:
        """Return True if the lines can be what GitHub writes as the field's answer.

        The lines are those from `start` up to `end`, which is excluded.
        """
        form_field = self.fields[field_index]
        first, last = bisect_left(self.nonblank_lines, start), bisect_left(self.nonblank_lines, end)
        count = last - first
        if count == 0:
            return form_field.kind == "checkboxes" and not form_field.options
        head, foot = self.lines[self.nonblank_lines[first]], self.lines[self.nonblank_lines[last - 1]]
        if count == 1 and head.strip() == NO_RESPONSE:
            return True
        match form_field.kind:
            case "input":
                return count == 1
            case "dropdown":
                return count == 1 and match_options(form_field, head.strip()) is not False
            case "checkboxes":
                boxes = bisect_left(self.checkbox_lines, end) - bisect_left(self.checkbox_lines, start)
                return boxes == count or (boxes > 0 and any("\n" in option for option in form_field.options))
            case _:
                return not form_field.render or (count >= 2 and is_fence_pair(head, foot))


def _normalize_label(label: str) -> str:
    """Return a label in normal form: without case, extra spaces and a closing colon."""
    return " ".join(label.casefold().split()).rstrip(" :：*?.").lstrip("*")
