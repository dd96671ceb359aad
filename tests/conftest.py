"""What every test may ask for."""

from __future__ import annotations

import os

import pytest

from tests.figures import Figures, checks_of
from tests.figures import figures as measured
from tests.soak import on_server

USUAL = "usual"
"""The fixture of whatever runs on either database."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-stories",
        action="store_true",
        help="write what the core answers into the stories, to be read as a diff",
    )
    parser.addoption(
        "--checks", action="store_true", help="only the checks that docs/reliability.md names, by their ids"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--checks"):
        others = [item for item in items if not checks_of(item.name)]
        items[:] = [item for item in items if checks_of(item.name)]
        if on_server():
            others += [item for item in items if USUAL not in getattr(item, "fixturenames", ())]
            items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=others)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # whoever hands out the tests hears of each as well, and of those that took their process with them
    if report.when == "call" or report.outcome != "passed":
        measured().ran(report.nodeid, report.outcome, report.duration)


@pytest.fixture(scope="session")
def figures() -> Figures:
    """Where a check of the reliability page writes down what it measured."""
    return measured()
