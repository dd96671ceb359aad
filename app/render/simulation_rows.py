"""Rows of a simulation, with repeated pages folded into one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.core.simulate import Row, format_offset


def collapse_pages(rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Yield each row with its note, with repeated pages to the same people collapsed into one row.

    Such a row's note says `and 9 more, every 5m, until +1h`.
    """
    pages = [row for row in rows if row.kind == "page"]
    notes: dict[int, str] = {}
    collapsed_ids: set[int] = set()
    start = 0
    while start < len(pages):
        end = start + 1
        while end < len(pages) and _repeats(pages[end - 1], pages[end]):
            end += 1
        first, *others = pages[start:end]
        if len(others) > 1:
            every, until = format_offset(others[0].offset - first.offset)[1:], format_offset(others[-1].offset)
            notes[id(first)] = f"and {len(others)} more, every {every}, until {until}"
            collapsed_ids |= {id(page) for page in others}
        start = end
    for row in rows:
        if id(row) not in collapsed_ids:
            yield row, ", ".join(part for part in (row.note, notes.get(id(row), "")) if part)


def _repeats(page: Row, following: Row) -> bool:
    """Return whether a page repeats the one before it, to the same people."""
    return following.note.startswith("page ") and (page.step, page.via, page.to) == (
        following.step,
        following.via,
        following.to,
    )
