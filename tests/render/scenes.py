"""Incidents to look at, folded from events as the live application would."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

from app.core.effects import Effect, Notice
from app.core.events import Closed, Event, Opened, PostmortemOpened, Reopened, Role, Said
from app.core.incident import Incident
from app.core.policy import Duration, Person, Policy, Step, Target, Targets, Until
from app.core.replay import replay
from app.core.report import Exposure, Kind, Level, Report, Source
from app.core.severity import Severity
from app.core.spoken import Spoken

START = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
URL = "https://github.com/octo/shop/issues/12"
FOOTER = "<!-- muster:board v1 0123456789abcdef -->"
LINKS = {"board": f"{URL}#issuecomment-1"}


def minutes(n: float) -> Duration:
    return Duration(seconds=int(n * 60))


POLICY = Policy(
    zone="Europe/Berlin",
    targets={
        Severity.SEV1: Targets(Target(minutes(5)), Target(minutes(15)), Target(minutes(15)), Target(minutes(240))),
        Severity.SEV2: Targets(Target(minutes(5)), Target(minutes(60)), Target(minutes(30)), Target(minutes(480))),
        Severity.SEV3: Targets(respond=Target(minutes(240)), resolve=Target(Duration(business_days=3))),
    },
    ladders={
        severity: (
            Step(Duration(), ("on-call",), Until.ACK, minutes(5)),
            Step(minutes(30), ("it-manager",)),
            Step(minutes(60), ("cto",), do="decide about telling customers"),
        )
        for severity in (Severity.SEV1, Severity.SEV2)
    },
    people={"hubot": Person("Hugh Bot")},
    contacts={"on-call": ("hubot", "octocat"), "it-manager": ("boss",), "cto": ("chief",)},
)

REPORT = Report(
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
    """A log that grows line by line: `scene.said(12, "hubot", "ack")` is twelve minutes after the declaration."""

    def __init__(
        self, title: str = "Checkout is down", report: Report = REPORT, by: str = "mona", policy: Policy = POLICY
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

    def said(self, after: float, by: str, command: str, argument: str = "") -> Scene:
        n = next(self._numbers)
        spoken = (Spoken(command, argument),)
        url = f"{URL}#issuecomment-{n}"
        event = Said(by=by, role=Role.WRITE, key=f"comment/{n}", url=url, comment=n, spoken=spoken)
        return self.happened(after, event)

    def closed(self, after: float, by: str) -> Scene:
        return self.happened(after, Closed(by=by, role=Role.WRITE, key=f"closed/{after}", url=URL))

    def reopened(self, after: float, by: str) -> Scene:
        return self.happened(after, Reopened(by=by, role=Role.WRITE, key=f"reopened/{after}", url=URL))

    def drafted(self, after: float) -> Scene:
        url = "https://github.com/octo/shop/pull/13"
        return self.happened(after, PostmortemOpened(key="pull/13", url=url, pull=13))

    def happened(self, after: float, event: Event) -> Scene:
        self.log.append((START + timedelta(minutes=after), event))
        return self

    def at(self, after: float) -> tuple[Incident, datetime]:
        now = START + timedelta(minutes=after)
        incident = replay(self.log, self.policy, now).incident
        assert incident is not None
        return incident, now

    def effects(self, after: float) -> tuple[Effect, ...]:
        return replay(self.log, self.policy, START + timedelta(minutes=after)).effects

    def notices(self, after: float) -> list[Notice]:
        return [effect for effect in self.effects(after) if isinstance(effect, Notice)]


def unanswered() -> Scene:
    return Scene()


def answered() -> Scene:
    return (
        Scene()
        .said(7, "hubot", "ack")
        .said(12, "hubot", "status", "investigating")
        .said(20, "hubot", "update", "The database refuses connections; we are restarting the pool.")
        .said(26, "octocat", "escalate", "we need the vendor on the line")
    )


def over() -> Scene:
    return (
        answered()
        .said(34, "hubot", "update", "The vendor has raised our limit. Payments come through again.")
        .said(36, "hubot", "status", "mitigated")
        .said(95, "hubot", "resolve", "the pool is sized for the new limit")
        .closed(120, "mona")
        .drafted(121)
    )


def unsure() -> Scene:
    return Scene(
        "Something is odd",
        Report(summary="It is odd.", doubts=("severity: 'quite bad' is none of sev1, sev2, sev3, sev4",)),
    )
