"""The printed pages say what the code does."""

from __future__ import annotations

import pytest

from tools.docs import ROOT, pages


@pytest.mark.parametrize("path", pages())
def test_a_printed_page_follows_from_the_code(path: str) -> None:
    assert (ROOT / path).read_text("utf-8") == pages()[path], f"{path} is stale: run `make docs`"
