"""FC-G8: a report that was opened long ago and never answered is taken in at once, and told once, by daylight."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from app.bootstrap import rebuild_incidents
from tests.figures import Figures
from tests.shell.night import SEV1, Night

SEV2 = SEV1.replace("SEV1", "SEV2").replace("High", "Medium")


@pytest.mark.parametrize("days", [30, 90, 180, 365])
def test_h2_a_lost_delivery_of_long_ago_costs_no_more_than_one_of_today(
    tonight: Night, figures: Figures, days: int
) -> None:
    tonight.clock.at = tonight.clock.at.replace(hour=2)
    tonight.github.hooks.drop_next(2)
    number = tonight.github.person("grace").opens(tonight.shop, "Search is slow", SEV2, ["incident"])
    tonight.github.hooks.settle()
    tonight.clock.at += timedelta(days=days)
    started = time.perf_counter()
    lines = list(rebuild_incidents(tonight.application, "octo/shop", number))
    rebuilt = time.perf_counter() - started
    assert "INC-" in lines[0]
    assert rebuilt < 5
    started = time.perf_counter()
    tonight.settle()
    taken = time.perf_counter() - started
    assert taken < 2
    assert tonight.notices(number) == [], "at two at night nobody is paged for it"
    assert "sla-breached" in tonight.labels(number)
    assert tonight.board(number)
    tonight.clock.at += timedelta(days=4, hours=8)
    tonight.settle()
    told = tonight.notices(number)
    assert len(told) == 1
    assert "is it still an incident?" in told[0]
    assert "page 2" not in told[0]
    tonight.github.person("mona").comments(tonight.shop, number, "/severity sev1 it is worse than we thought")
    tonight.advance_and_settle()
    assert len(tonight.notices(number)) > 1, "a rise pages at any hour"
    figures.record(
        "H2", size=f"unanswered for {days} days", measured=f"rebuilt in {rebuilt:.2f} s, told in {taken:.2f} s"
    )
