"""The language has bounds: how often a severity pages, and in which years a date lies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.calendar import due_time
from app.core.effects import UntouchedQuestion
from app.core.events import Opened
from app.core.incident_report import IncidentReport
from app.core.on_call import next_hand_off, people_on_call
from app.core.policy import Duration, Policy, Target
from app.core.replay import replay
from app.core.severity import Severity
from app.policy_file import read_policy
from app.policy_file.field_rules import key_specs, shape_of
from app.policy_file.value_parsers import Moment

from .errors import policy_errors, single_error

NOW = datetime(2026, 3, 14, 2, tzinfo=UTC)
ZONES = ("UTC", "America/New_York", "Pacific/Kiritimati", "Pacific/Niue", "Europe/Berlin")

PLACES = {
    ("Rotation", "starts"): "rotations: {{night: {{people: [mona, kai], starts: {day}, timezone: {zone}}}}}",
    ("OnCallOverride", "from"): (
        "rotations: {{night: {{people: [mona, kai], timezone: {zone}, "
        "overrides: [{{from: {day} 00:00, until: 2100-12-31 23:59, person: hubot}}]}}}}"
    ),
    ("OnCallOverride", "until"): (
        "rotations: {{night: {{people: [mona, kai], timezone: {zone}, "
        "overrides: [{{from: 2000-01-01 00:00, until: {day} 23:59, person: hubot}}]}}}}"
    ),
    ("Calendar", "holidays"): "calendars: {{business: {{holidays: [{day}], timezone: {zone}}}}}",
    ("Calendar", "workdays"): "calendars: {{business: {{workdays: [{day}], timezone: {zone}}}}}",
}
"""Every place of the language where a date can stand, by record and key."""

DAYS = st.one_of(
    st.dates(date.min, date.min + timedelta(days=3)),
    st.dates(date.max - timedelta(days=3), date.max),
    st.dates(date(1999, 12, 30), date(2000, 1, 3)),
    st.dates(date(2100, 12, 29), date(2101, 1, 3)),
    st.dates(),
)


def paging(*repeats: str) -> str:
    """Return a policy whose sev1 pages in as many steps, each with its own `repeat`."""
    steps = (f"{{after: {n}m, to: on-call, until: ack, repeat: {repeat}}}" for n, repeat in enumerate(repeats, 1))
    return f"escalation: {{sev1: [{', '.join(steps)}]}}"


@pytest.mark.parametrize("repeats", [("1m",), ("2m", "2m"), ("12m",) * 12, ("2m", *("1h",) * 11), ("5m",) * 5])
def test_fc_s1_up_to_a_page_a_minute_is_read(repeats: tuple[str, ...]) -> None:
    assert read_policy(paging(*repeats))


@pytest.mark.parametrize(
    ("repeats", "wrong"),
    [
        (("1m", "1h"), "escalation.sev1[1]: with this step it pages 61 times an hour, at most 60: repeat less often"),
        (("5m",) * 6, "escalation.sev1[5]: with this step it pages 72 times an hour, at most 60: repeat less often"),
        (("1m",) * 60, "escalation.sev1[12]: 60 steps page at the same time, at most 12"),
        (("12m",) * 13, "escalation.sev1[12]: 13 steps page at the same time, at most 12"),
    ],
)
def test_fc_s1_more_than_a_page_a_minute_is_a_fault_of_that_step(repeats: tuple[str, ...], wrong: str) -> None:
    assert single_error(paging(*repeats)).endswith(wrong)


def test_fc_s1_the_ladder_of_an_override_has_the_same_bounds() -> None:
    ladder = paging("1m", "1m").removeprefix("escalation: ")
    fault = single_error(f"overrides: [{{types: [security breach], escalation: {ladder}}}]")
    assert "overrides[0].escalation.sev1[1]: with this step it pages 120 times an hour" in fault


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"warnings: {list(range(1, 12))}", "warnings: these are 11 warnings, at most 10"),
        (
            "audiences: {" + ", ".join(f"a{n}: {{to: cto, first: {{sev1: 1h}}}}" for n in range(21)) + "}",
            " audiences, at most 20",
        ),
        ("regulations: {" + ", ".join(f"r{n}: {{within: 72h}}" for n in range(21)) + "}", " regulations, at most 20"),
        (
            "escalation: {sev1: [" + ", ".join(f"{{after: {n}m, to: cto}}" for n in range(1, 102)) + "]}",
            "escalation.sev1[100]: these are 101 steps, at most 100",
        ),
    ],
    ids=["warnings", "audiences", "regulations", "steps"],
)
def test_fc_s1_what_every_incident_follows_is_bounded(text: str, wrong: str) -> None:
    (fault,) = policy_errors(text)
    assert fault.endswith(wrong)


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from(sorted(PLACES)), day=DAYS, zone=st.sampled_from(ZONES))
def test_fc_c1_a_date_works_or_is_a_fault_at_its_place(place: tuple[str, str], day: date, zone: str) -> None:
    text = PLACES[place].format(day=day.isoformat(), zone=zone)
    if not 2000 <= day.year <= 2100:
        assert f"{day.isoformat()}' is not between 2000 and 2100" in single_error(text)
        return
    policy = read_policy(text)
    for at in (NOW, datetime(1970, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)):
        for rotation in policy.rotations.values():
            assert isinstance(people_on_call(rotation, at), tuple)
            next_hand_off(rotation, at)
    assert due_time(NOW, Target(Duration(business_days=3)), policy.calendars) > NOW


def test_fc_c1_every_date_of_the_language_is_tried() -> None:
    """A new field that holds a date fails here until its place is added above."""
    assert set(find_dates(Policy)) == set(PLACES)


def find_dates(kind: Any, place: tuple[str, str] = ("", "")) -> Iterator[tuple[str, str]]:
    """Yield the record and the key of every place where the language has a date."""
    shape = shape_of(kind)
    if kind in (date, Moment):
        yield place
    elif shape.form == "record":
        for entry in key_specs(kind).values():
            yield from find_dates(entry.kind, (kind.__name__, entry.key))
    else:
        for inner in shape.inner:
            yield from find_dates(inner, place)


def test_fc_g8_a_year_under_the_largest_policy_is_folded_at_once() -> None:
    """Twelve paging steps, a hundred in all, twenty audiences and regulations, ten warnings of each."""
    pages = [f"{{after: {n}m, to: on-call, until: ack, repeat: 12m}}" for n in range(1, 13)]
    steps = ", ".join([*pages, *(f"{{after: {n}h, to: cto}}" for n in range(1, 89))])
    audiences = (f"a{n}: {{to: cto, first: {{sev2: {n}h}}, updates: {{sev2: {n}h}}}}" for n in range(1, 21))
    regulations = (f"r{n}: {{within: {n}d}}" for n in range(1, 21))
    policy = read_policy(
        f"warnings: {list(range(9, 100, 10))}\nescalation: {{sev2: [{steps}]}}\n"
        f"audiences: {{executives: off, customers: off, {', '.join(audiences)}}}\n"
        f"regulations: {{gdpr-article-33: off, {', '.join(regulations)}}}\n"
    )
    opened = Opened(id="INC-1", repo="a/b", number=1, title="down", report=IncidentReport(severity=Severity.SEV2))
    began = process_time()
    decision = replay([(NOW, opened)], policy, NOW + timedelta(days=365))
    assert process_time() - began < 2
    assert any(isinstance(effect, UntouchedQuestion) for effect in decision.effects)
