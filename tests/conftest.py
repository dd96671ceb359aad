"""What every test may ask for."""

from __future__ import annotations

import pytest

from tests.figures import Figures
from tests.figures import figures as measured


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-stories",
        action="store_true",
        help="write what the core answers into the stories, to be read as a diff",
    )


@pytest.fixture(scope="session")
def figures() -> Figures:
    """Where a check of the reliability page writes down what it measured."""
    return measured()
