"""Options and fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.figures import Figures, checks_of, open_figures
from tests.soak import runs_on_server

USUAL = "usual"
"""The fixture of tests that can run on either kind of database."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-stories",
        action="store_true",
        help="write what the core answers into the stories, to be read as a diff",
    )
    parser.addoption(
        "--checks", action="store_true", help="only the checks that docs/reliability.md names, by their ids"
    )


QUICK_FOLDERS = {
    Path(__file__).parent / name for name in ("core", "stories", "github", "feeds", "policy_file", "render")
}
"""The rules, their stories, and the parsers and renderers: no server and no database."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if QUICK_FOLDERS.intersection(item.path.parents):
            item.add_marker(pytest.mark.quick)
    if config.getoption("--checks"):
        others = [item for item in items if not checks_of(item.name)]
        items[:] = [item for item in items if checks_of(item.name)]
        if runs_on_server():
            others += [item for item in items if USUAL not in getattr(item, "fixturenames", ())]
            items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=others)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # the controller gets each report as well, and those of workers that crashed
    if report.when == "call" or report.outcome != "passed":
        open_figures().record_outcome(report.nodeid, report.outcome, report.duration)


@pytest.fixture(scope="session")
def figures() -> Figures:
    """Where a check of the reliability page records its measurements."""
    return open_figures()
