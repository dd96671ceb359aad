"""What a team has decided beforehand: targets, ladders, people, words.  Data only; the rules are elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from enum import Enum
from functools import lru_cache

from app.core.report import Exposure, Kind, Level
from app.core.severity import Scale, Severity

_DURATION = re.compile(r"([1-9][0-9]{0,4})(s|m|h|d|w|bd)")
_SPOKEN = {"s": "second", "m": "minute", "h": "hour", "d": "day", "bd": "business day"}
_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@lru_cache(maxsize=1024)
def _span(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time as a policy writes it: `15m`, `4h`, `3d`, or business days `1bd`.

    `d` is 24 elapsed hours; `bd` is a day of a calendar and has no length of its own.  Exactly one field is not zero,
    but for `0m`, which means "at once".
    """

    seconds: int = 0
    business_days: int = 0

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Raises ValueError, with what would have worked, unless the text is 60 s to 365 d, or `0m` (M23)."""
        if text == "0m":
            return cls()
        found = _DURATION.fullmatch(text)
        if found is None:
            raise ValueError(f"'{text[:40]}' is not a duration, such as 15m, 4h, 3d or 1bd")
        amount, unit = int(found[1]), found[2]
        if unit == "bd":
            if amount > 365:
                raise ValueError(f"'{text}' is too long: at most 365bd")
            return cls(business_days=amount)
        seconds = amount * _UNIT[unit]
        if not 60 <= seconds <= 365 * 86400:
            raise ValueError(f"'{text}' is out of range: from 1m to 365d, or 0m for at once")
        return cls(seconds=seconds)

    @property
    def elapsed(self) -> timedelta:
        """The plain length; zero for business days."""
        return _span(self.seconds)

    @property
    def at_once(self) -> bool:
        return not self.seconds and not self.business_days

    @property
    def words(self) -> str:
        """As people say it: `5 minutes`, `1 hour`, `2 business days`."""
        if self.at_once:
            return "at once"
        text = str(self)
        amount = text.rstrip("smhdb")
        unit = _SPOKEN[text.removeprefix(amount)]
        return f"{amount} {unit}" if amount == "1" else f"{amount} {unit}s"

    def __str__(self) -> str:
        if self.business_days:
            return f"{self.business_days}bd"
        for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
            if self.seconds and self.seconds % size == 0:
                return f"{self.seconds // size}{unit}"
        return f"{self.seconds}s" if self.seconds else "0m"


@dataclass(frozen=True, slots=True)
class Calendar:
    """When a team works.  `opens` and `closes` are wall clock times in `zone`; 24 hours on every day is `AROUND_THE_CLOCK`.

    `days` are weekdays, Monday is 0; `holidays` are days off.
    """

    zone: str = "UTC"
    opens: time = time(9)
    closes: time = time(17)
    days: frozenset[int] = frozenset({0, 1, 2, 3, 4})
    holidays: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class Target:
    """How long something may take.  `calendar` None: every hour counts (business days use the calendar `business`)."""

    within: Duration
    calendar: str | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """The clocks of one severity.  None: that clock does not run."""

    acknowledge: Target | None = None
    respond: Target | None = None
    update: Target | None = None
    resolve: Target | None = None


_NO_TARGETS = Targets()


class Until(Enum):
    """What ends a step: `ack` pages the person on call and repeats, `resolved` runs on after an acknowledgement (E3)."""

    ACK = "ack"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of a ladder, counted from the declaration of the incident.

    `to` names contacts of the policy; `repeat` None: told once; `do` is asked for in words, such as
    "customer communication required".
    """

    after: Duration
    to: tuple[str, ...] = ()
    until: Until = Until.RESOLVED
    repeat: Duration | None = None
    do: str = ""


@dataclass(frozen=True, slots=True)
class Floor:
    """A fact that makes an incident at least that severe (A5).  Every field that is not None must match."""

    because: str
    at_least: Severity
    kind: Kind | None = None
    impact: Level | None = None
    personal_data: Exposure | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who can be mentioned; the key of `Policy.people` is the GitHub login."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Labels:
    """The names of Muster's labels in a repository."""

    incident: str = "incident"
    severities: tuple[str, str, str, str] = ("sev1", "sev2", "sev3", "sev4")
    acknowledged: str = "acknowledged"
    mitigated: str = "mitigated"
    resolved: str = "resolved"
    paused: str = "paused"
    escalate: str = "escalate"
    needs_triage: str = "needs-triage"
    at_risk: str = "sla-at-risk"
    breached: str = "sla-breached"
    postmortem_due: str = "postmortem-due"
    confidential: str = "confidential"

    def of(self, severity: Severity) -> str:
        return self.severities[severity - 1]

    def severity(self, label: str) -> Severity | None:
        """The severity that a label stands for, or None for any other label."""
        return Severity(self.severities.index(label) + 1) if label in self.severities else None


@dataclass(frozen=True, slots=True)
class Intake:
    """How reports are read: the severity of a report that gives none, and headings in a form's own wording.

    `fields` maps a heading (compared without case) to a field of `Report`, such as "Dringlichkeit" to "urgency".
    """

    default: Severity = Severity.SEV3
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Postmortem:
    """When a postmortem is written (P1, P3, P4).  `reviewers` are contacts of the policy."""

    required: frozenset[Severity] = frozenset({Severity.SEV1, Severity.SEV2})
    reviewers: tuple[str, ...] = ("it-manager",)
    document: Duration = Duration(seconds=48 * 3600)
    review: Duration = Duration(seconds=72 * 3600)
    overdue: Duration = Duration(business_days=5)


MATRIX: Mapping[Level, Mapping[Level, Severity]] = {
    urgency: dict(zip((Level.HIGH, Level.MEDIUM, Level.LOW), map(Severity, row), strict=True))
    for urgency, row in {Level.HIGH: (1, 2, 3), Level.MEDIUM: (2, 3, 4), Level.LOW: (3, 4, 4)}.items()
}
"""Severity by urgency, then impact (A3, from 003)."""

FLOORS = (
    Floor("a security breach", Severity.SEV1, kind=Kind.SECURITY),
    Floor("a confirmed data breach", Severity.SEV1, personal_data=Exposure.YES),
    Floor("a full outage", Severity.SEV1, kind=Kind.OUTAGE, impact=Level.HIGH),
    Floor("a major data loss", Severity.SEV1, kind=Kind.DATA_LOSS, impact=Level.HIGH),
)
"""What makes an incident sev1 whatever was chosen (A5).  A critical vulnerability is reported as a security breach."""


@dataclass(frozen=True)
class Policy:
    """Everything a team has decided.  The shipped profiles fill it; a repository's file overrides parts of it.

    `zone` is the IANA zone in which times are shown to people beside UTC.  `contacts` maps what a step's `to` names,
    such as `on-call` or `it-manager`, to logins: people, not teams, are mentioned (E8).  `warnings` are per cent of a
    target.  `silence` is how many missed update cadences re-arm the paging of an acknowledged incident (E3).
    """

    profile: str = "guide"
    scale: Scale = Scale.SEV
    zone: str = "UTC"
    targets: Mapping[Severity, Targets] = field(default_factory=dict)
    ladders: Mapping[Severity, tuple[Step, ...]] = field(default_factory=dict)
    warnings: tuple[int, ...] = (50, 80)
    silence: int = 2
    calendars: Mapping[str, Calendar] = field(default_factory=lambda: {"business": Calendar()})
    people: Mapping[str, Person] = field(default_factory=dict)
    contacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    matrix: Mapping[Level, Mapping[Level, Severity]] = field(default_factory=lambda: MATRIX)
    floors: tuple[Floor, ...] = FLOORS
    labels: Labels = field(default_factory=Labels)
    intake: Intake = field(default_factory=Intake)
    postmortem: Postmortem = field(default_factory=Postmortem)

    def targets_of(self, severity: Severity) -> Targets:
        """The clocks of that severity; none run where the policy names none."""
        return self.targets.get(severity, _NO_TARGETS)

    def people_of(self, contacts: tuple[str, ...]) -> tuple[str, ...]:
        """The logins behind those contacts, each once, in order.  A contact nobody holds adds nobody."""
        return tuple(dict.fromkeys(login for contact in contacts for login in self.contacts.get(contact, ())))
