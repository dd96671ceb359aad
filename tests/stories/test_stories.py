"""Every story in this folder, replayed and compared with its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from .story import parse_story, render_story

HERE = Path(__file__).parent
STORIES = sorted(HERE.rglob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.relative_to(HERE).with_suffix("").as_posix())
def test_story(path: Path, request: pytest.FixtureRequest) -> None:
    written = path.read_text("utf-8")
    rendered = render_story(parse_story(written))
    if request.config.getoption("--update-stories"):
        path.write_text(rendered, "utf-8")
    else:
        assert written == rendered


def test_titles_tell_stories_apart() -> None:
    titles = [parse_story(path.read_text("utf-8")).title for path in STORIES]
    assert len(set(titles)) == len(titles) >= 45
