"""Incidents to render, replayed from events as in the live application."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import count

from app.core.effects import Effect, Notice
from app.core.events import Closed, Commented, Event, Opened, PostmortemOpened, Reopened, Role
from app.core.incident import Incident
from app.core.incident_report import Exposure, IncidentReport, Kind, Level, Source
from app.core.policy import (
    Audience,
    Closing,
    Duration,
    FirstNotice,
    Person,
    Policy,
    Regulation,
    RoleHolders,
    Rotation,
    Runbook,
    Service,
    Step,
    Target,
    Targets,
    Team,
    Until,
    WarRoom,
)
from app.core.replay import replay
from app.core.severity import Severity
from app.core.slash_command import SlashCommand

START = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
URL = "https://github.com/octo/shop/issues/12"
FOOTER = "<!-- muster:board v1 0123456789abcdef -->"
LINKS = {"board": f"{URL}#issuecomment-1"}


def minutes(n: float) -> Duration:
    return Duration(seconds=int(n * 60))


def targets_in_minutes(**clocks: float) -> Targets:
    """Build targets from minutes, by the names of their clocks."""
    return Targets(**{clock: Target(minutes(n)) for clock, n in clocks.items()})


POLICY = Policy(
    zone="Europe/Berlin",
    targets={
        Severity.SEV1: targets_in_minutes(acknowledge=5, respond=15, update=15, resolve=240),
        Severity.SEV2: targets_in_minutes(acknowledge=5, respond=60, update=30, resolve=480),
        Severity.SEV3: Targets(respond=Target(minutes(240)), resolve=Target(Duration(business_days=3))),
    },
    ladders={
        severity: (
            Step(Duration(), ("on-call",), until=Until.ACK, repeat=minutes(5)),
            Step(minutes(30), ("it-manager",)),
            Step(minutes(60), ("cto",), do="decide about telling customers"),
        )
        for severity in (Severity.SEV1, Severity.SEV2)
    },
    people={"hubot": Person("Hugh Bot")},
    contacts={"on-call": ("hubot", "octocat"), "it-manager": ("boss",), "cto": ("chief",)},
)

SHOP_POLICY = replace(
    POLICY,
    teams={"payments": Team(members=("hubot", "octocat"), on_call="payments")},
    rotations={
        "payments": Rotation(
            people=("hubot", "octocat", "boss"),
            starts=date(2026, 3, 1),
            hand_off=time(18),
            turn=minutes(24 * 60),
            zone="Europe/Berlin",
        )
    },
    services={"checkout": Service(owner="payments", aliases=("shop",), runbooks=("database", "card network"))},
    runbooks={
        "database": Runbook("docs/runbooks/database.md"),
        "card network": Runbook("https://wiki.example/runbooks/Card network (EU)"),
        "service outage": Runbook("./docs/runbooks/outage.md#first minutes", (Kind.OUTAGE,)),
        "security": Runbook("docs/runbooks/security.md", (Kind.SECURITY,)),
    },
    war_room=WarRoom(frozenset({Severity.SEV1}), link="https://meet.example/{{ room }}"),
    closing=Closing(
        frozenset({Severity.SEV1, Severity.SEV2}),
        ("functional", "user", "monitoring"),
        ("service restored", "root cause found, or a problem issue linked", "users told"),
    ),
)
"""A policy with a team that owns a service, a war room and runbooks."""

WATCHED_POLICY = replace(
    SHOP_POLICY,
    targets={Severity.SEV1: targets_in_minutes(commander=5, acknowledge=5, respond=5, update=15, resolve=240)},
    contacts={**POLICY.contacts, "dpo": ("dpo",), "leadership": ("boss", "chief")},
    roles={"communications-lead": RoleHolders(holder=("press",))},
    audiences={
        "executives": Audience(first={Severity.SEV1: minutes(10)}, updates={Severity.SEV1: minutes(120)}),
        "customers": Audience(updates={Severity.SEV1: minutes(30)}),
        "status page": Audience(first={Severity.SEV1: Duration()}),
    },
    regulations={
        "gdpr-article-33": Regulation(
            minutes(72 * 60),
            personal_data=(Exposure.POSSIBLY,),
            to=("dpo",),
            do="tell the authority, or record why not",
        )
    },
    first_notice={Severity.SEV1: FirstNotice(to=("leadership",))},
)
"""The same policy with a commander target, audiences, a regulation and a first notice to leadership."""

REPORT = IncidentReport(
    summary="Nobody can pay: the checkout answers 503.",
    severity=Severity.SEV1,
    impact=Level.HIGH,
    urgency=Level.HIGH,
    kind=Kind.OUTAGE,
    services=("checkout", "payments"),
    source=Source.MONITORING,
    started_at=START - timedelta(minutes=12),
    detected_at=START - timedelta(minutes=4),
    symptoms="503 from every instance\n`upstream timed out` in the log",
    affected="all customers in Europe",
    revenue="about 2,000 EUR a minute",
    workaround="none",
    personal_data=Exposure.NO,
)


class Scene:
    """An incident log that is built event by event.

    `scene.post_command(12, "hubot", "ack")` is twelve minutes after the declaration, as are all times here.
    """

    def __init__(
        self,
        title: str = "Checkout is down",
        report: IncidentReport = REPORT,
        by: str = "mona",
        policy: Policy = POLICY,
    ) -> None:
        self.policy = policy
        self.log: list[tuple[datetime, Event]] = []
        self._numbers: Iterator[int] = count(2)
        opened = Opened(
            by=by,
            role=Role.READ,
            key="opened",
            url=URL,
            id="INC-2026-0314-001",
            repo="octo/shop",
            number=12,
            title=title,
            report=report,
        )
        self.log.append((START, opened))

    def post_command(self, minute: float, by: str, command: str, argument: str = "") -> Scene:
        n = next(self._numbers)
        commands = (SlashCommand(command, argument),)
        url = f"{URL}#issuecomment-{n}"
        event = Commented(by=by, role=Role.WRITE, key=f"comment/{n}", url=url, comment=n, commands=commands)
        return self.add_event(minute, event)

    def close(self, minute: float, by: str) -> Scene:
        return self.add_event(minute, Closed(by=by, role=Role.WRITE, key=f"closed/{minute}", url=URL))

    def reopen(self, minute: float, by: str) -> Scene:
        return self.add_event(minute, Reopened(by=by, role=Role.WRITE, key=f"reopened/{minute}", url=URL))

    def open_postmortem(self, minute: float) -> Scene:
        url = "https://github.com/octo/shop/pull/13"
        return self.add_event(minute, PostmortemOpened(key="pull/13", url=url, pull=13))

    def add_event(self, minute: float, event: Event) -> Scene:
        self.log.append((START + timedelta(minutes=minute), event))
        return self

    def state_at(self, minute: float) -> tuple[Incident, datetime]:
        now = START + timedelta(minutes=minute)
        incident = replay(self.log, self.policy, now).incident
        assert incident is not None
        return incident, now

    def effects(self, minute: float) -> tuple[Effect, ...]:
        return replay(self.log, self.policy, START + timedelta(minutes=minute)).effects

    def notices(self, minute: float) -> list[Notice]:
        return [effect for effect in self.effects(minute) if isinstance(effect, Notice)]


def unanswered_scene() -> Scene:
    return Scene()


def answered_scene() -> Scene:
    return (
        Scene()
        .post_command(7, "hubot", "ack")
        .post_command(12, "hubot", "status", "investigating")
        .post_command(20, "hubot", "update", "The database refuses connections; we are restarting the pool.")
        .post_command(26, "octocat", "escalate", "we need the vendor on the line")
    )


def owned_scene() -> Scene:
    return Scene(policy=SHOP_POLICY)


def watched_scene() -> Scene:
    return Scene(report=replace(REPORT, personal_data=Exposure.POSSIBLY), policy=WATCHED_POLICY)


def acknowledged_watched_scene() -> Scene:
    return (
        watched_scene()
        .post_command(7, "hubot", "ack")
        .post_command(20, "hubot", "update", "The database refuses connections.")
    )


def resolved_scene() -> Scene:
    return (
        owned_scene()
        .post_command(7, "hubot", "ack")
        .post_command(50, "hubot", "resolve", "the pool is sized for the new limit")
    )


def closed_scene() -> Scene:
    return (
        answered_scene()
        .post_command(34, "hubot", "update", "The vendor has raised our limit. Payments come through again.")
        .post_command(36, "hubot", "status", "mitigated")
        .post_command(95, "hubot", "resolve", "the pool is sized for the new limit")
        .close(120, "mona")
        .open_postmortem(121)
    )


def unclear_scene() -> Scene:
    return Scene(
        "Something is odd",
        IncidentReport(summary="It is odd.", doubts=("severity: 'quite bad' is none of sev1, sev2, sev3, sev4",)),
    )
