"""The effective policy of one incident: services by any name, types, owners, and the order of overrides."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from app.core.clocks import alarms, deadlines
from app.core.decide import decide
from app.core.effective_policy import active_regulations, affected_services, policy_for, policy_for_report
from app.core.events import Opened
from app.core.incident import Incident
from app.core.incident_report import Exposure, IncidentReport, Kind
from app.core.on_call import people_of
from app.core.policy import (
    MAX_CACHE_ENTRIES,
    ON_CALL,
    OWNER,
    Calendar,
    Duration,
    FirstNotice,
    Override,
    Policy,
    Regulation,
    RoleHolders,
    Rotation,
    Service,
    Target,
    Targets,
    Team,
    Via,
)
from app.core.severity import Severity

NOW = datetime(2026, 3, 14, 9, tzinfo=UTC)
SEV1, SEV2 = Severity.SEV1, Severity.SEV2
ROTATION = Rotation(("rota",), starts=date(2026, 1, 1))


def within(minutes: int, calendar: str | None = None) -> Target:
    return Target(Duration(seconds=60 * minutes), calendar)


POLICY = Policy(
    targets={SEV1: Targets(respond=within(15), update=within(15), resolve=within(240, "team"))},
    contacts={ON_CALL: ("mona",), "cto": ("grace",)},
    roles={"scribe": RoleHolders(("ada",))},
    services={
        "checkout": Service("payments", aliases=("Shop", "till")),
        "ledger": Service("payments", "ledger-rota"),
        "search": Service(),
    },
    teams={"payments": Team(("pia", "paul"), "late", "payments-rota")},
    rotations={"payments-rota": replace(ROTATION, people=("pia",)), "ledger-rota": replace(ROTATION, people=("lena",))},
    calendars={"business": Calendar(), "late": Calendar("Europe/Berlin")},
)


def incident(report: IncidentReport, policy: Policy = POLICY) -> Incident:
    opened = Opened(id="INC-1", repo="acme/shop", number=7, title="down", by="ada", key="issue/7", report=report)
    found = decide(None, opened, policy, NOW).incident
    assert found
    return found


def on_call(policy: Policy, *services: str, kind: Kind | None = None) -> tuple[str, ...]:
    return people_of((ON_CALL,), policy_for_report(policy, IncidentReport(services=services, kind=kind)), NOW)


@pytest.mark.parametrize(
    ("reported", "known"),
    [
        (("CHECKOUT",), ["checkout"]),
        (("shop", "Till"), ["checkout"]),
        (("search", "nothing we know", "till"), ["search", "checkout"]),
        ((), []),
    ],
)
def test_a_service_is_known_by_any_of_its_names(reported: tuple[str, ...], known: list[str]) -> None:
    assert list(affected_services(POLICY, IncidentReport(services=reported))) == known


@pytest.mark.parametrize(
    ("services", "who"),
    [
        ((), ("mona",)),
        (("search",), ("mona",)),
        (("checkout",), ("pia",)),  # the rotation of its team
        (("ledger",), ("lena",)),  # its own rotation goes before its team's
        (("search", "ledger", "checkout"), ("lena",)),  # the first service that has a rotation
    ],
)
def test_who_is_paged_follows_the_first_service_that_says(services: tuple[str, ...], who: tuple[str, ...]) -> None:
    assert on_call(POLICY, *services) == who


def test_the_owner_is_the_team_of_the_first_service_that_has_one() -> None:
    assert people_of((OWNER,), policy_for_report(POLICY, IncidentReport(services=("search", "till"))), NOW) == (
        "pia",
        "paul",
    )
    assert people_of((OWNER,), policy_for_report(POLICY, IncidentReport(services=("search",))), NOW) == ()


def test_a_target_in_team_hours_follows_the_owner() -> None:
    resolve = {}
    for services in (("checkout",), ("search",)):
        found = incident(IncidentReport(severity=SEV1, services=services))
        resolve[services] = next(each.due for each in deadlines(found, POLICY) if each.clock == "resolve")
    monday_berlin, monday_utc = datetime(2026, 3, 16, 12, tzinfo=UTC), datetime(2026, 3, 16, 13, tzinfo=UTC)
    assert resolve == {("checkout",): monday_berlin, ("search",): monday_utc}


@pytest.mark.parametrize(
    ("services", "kinds", "report", "matches"),
    [
        ((), (), IncidentReport(), True),
        (("checkout",), (), IncidentReport(services=("till",)), True),
        (("checkout", "search"), (), IncidentReport(services=("x", "search")), True),
        (("checkout",), (), IncidentReport(services=("search",)), False),
        ((), (Kind.SECURITY, Kind.PRIVACY), IncidentReport(kind=Kind.PRIVACY), True),
        ((), (Kind.SECURITY,), IncidentReport(), False),
        (("checkout",), (Kind.SECURITY,), IncidentReport(services=("till",), kind=Kind.SECURITY), True),
        (("checkout",), (Kind.SECURITY,), IncidentReport(services=("till",), kind=Kind.OUTAGE), False),
        (("checkout",), (Kind.SECURITY,), IncidentReport(kind=Kind.SECURITY), False),
    ],
)
def test_an_override_holds_where_all_its_conditions_do(
    services: tuple[str, ...], kinds: tuple[Kind, ...], report: IncidentReport, matches: bool
) -> None:
    policy = replace(POLICY, overrides=(Override(services, kinds, contacts={"cto": ("vera",)}),))
    assert policy_for_report(policy, report).contacts["cto"] == (("vera",) if matches else ("grace",))


def test_an_override_changes_single_clocks_and_may_stop_them_and_the_later_goes_first() -> None:
    overrides = (
        Override(targets={SEV1: {"respond": within(5), "update": None}, SEV2: {"respond": within(30)}}),
        Override(targets={SEV1: {"respond": within(2)}}, first_notice={SEV1: FirstNotice(via=(Via.PAGER,))}),
    )
    found = policy_for_report(replace(POLICY, overrides=overrides), IncidentReport())
    assert found.targets_of(SEV1) == Targets(respond=within(2), resolve=within(240, "team"))
    assert found.targets_of(SEV2) == Targets(respond=within(30))
    assert found.first_notice_of(SEV1).via == (Via.PAGER,)


def test_whom_an_override_names_goes_before_rotations_and_roles() -> None:
    policy = replace(POLICY, overrides=(Override(contacts={ON_CALL: ("vera",), "scribe": ("sven",)}),))
    found = policy_for_report(policy, IncidentReport(services=("ledger",)))
    assert people_of((ON_CALL, "scribe"), found, NOW) == ("vera", "sven")


def test_the_rules_of_the_rules_are_the_same() -> None:
    policy = replace(
        POLICY, overrides=(Override(contacts={ON_CALL: ("vera",)}, targets={SEV1: {"respond": within(3)}}),)
    )
    found = incident(IncidentReport(severity=SEV1, services=("ledger", "checkout")), policy)
    effective = policy_for(policy, found)
    assert policy_for(effective, found) is effective
    assert alarms(found, effective) == alarms(found, policy)
    assert policy_for(POLICY, found) is policy_for(POLICY, found)


def test_many_made_up_services_do_not_fill_the_memory() -> None:
    policy = replace(POLICY)
    for number in range(2500):
        policy_for_report(policy, IncidentReport(services=(f"made up {number}",)))
    assert len(policy._cache) <= MAX_CACHE_ENTRIES


@pytest.mark.parametrize(
    ("kinds", "answers", "report", "bound"),
    [
        ((Kind.PRIVACY,), (Exposure.YES,), IncidentReport(kind=Kind.PRIVACY), True),
        ((Kind.PRIVACY,), (Exposure.YES,), IncidentReport(personal_data=Exposure.YES), True),
        ((Kind.PRIVACY,), (Exposure.YES,), IncidentReport(kind=Kind.OUTAGE, personal_data=Exposure.POSSIBLY), False),
        ((Kind.PRIVACY,), (), IncidentReport(), False),
        ((), (Exposure.YES, Exposure.POSSIBLY), IncidentReport(personal_data=Exposure.POSSIBLY), True),
        ((), (), IncidentReport(), True),
    ],
)
def test_a_law_binds_by_type_or_by_personal_data(
    kinds: tuple[Kind, ...], answers: tuple[Exposure, ...], report: IncidentReport, bound: bool
) -> None:
    law = Regulation(Duration(seconds=3600), kinds=kinds, personal_data=answers)
    assert ("law" in active_regulations(Policy(regulations={"law": law}), report)) is bound
