"""What a team has decided beforehand: targets, ladders, people, words.  Data only; the rules are elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, cast

from app.core.incident_report import Level
from app.core.policy.channels import Channel, ChannelKind
from app.core.policy.clocks import BUSINESS, TEAM, Audience, Calendar, Regulation, Since, Target, Targets
from app.core.policy.closing import Closing, Goals, Postmortem, Retention
from app.core.policy.duration import Duration
from app.core.policy.escalation import FirstNotice, Step, Until, Via
from app.core.policy.intake import FLOORS, MATRIX, Alert, Floor, Intake
from app.core.policy.labels import Labels
from app.core.policy.people import COMMANDER, COMMUNICATIONS, ON_CALL, OWNER, Cover, Duty, Person, Rotation, Shift, Team
from app.core.policy.services import Override, Runbook, Service, WarRoom
from app.core.severity import Scale, Severity

__all__ = [
    "BUSINESS",
    "COMMANDER",
    "COMMUNICATIONS",
    "FLOORS",
    "MATRIX",
    "ON_CALL",
    "OWNER",
    "TEAM",
    "Alert",
    "Audience",
    "Calendar",
    "Channel",
    "ChannelKind",
    "Closing",
    "Cover",
    "Duration",
    "Duty",
    "FirstNotice",
    "Floor",
    "Goals",
    "Intake",
    "Labels",
    "Override",
    "Person",
    "Policy",
    "Postmortem",
    "Regulation",
    "Retention",
    "Rotation",
    "Runbook",
    "Service",
    "Shift",
    "Since",
    "Step",
    "Target",
    "Targets",
    "Team",
    "Until",
    "Via",
    "WarRoom",
]

Made = TypeVar("Made")

REMEMBERED = 1000
"""How much a policy remembers of what was made of it."""

_NO_TARGETS = Targets()
_NO_NOTICE = FirstNotice()


@dataclass(frozen=True)
class Policy:
    """Everything a team has decided.  The shipped profiles fill it; a repository's file overrides parts of it.

    `zone` is the IANA zone in which times are shown to people beside UTC.  `aliases` are further names of severities.
    `contacts` maps what a step's `to` names, such as `on-call` or `it-manager`, to logins: people, not teams, are
    mentioned (E8); `roles`, `teams` and `rotations` can be named there too.  `warnings` are per cent of a target.
    `silence` is how many missed update cadences re-arm the paging of an acknowledged incident (E3).
    """

    profile: str = "guide"
    scale: Scale = Scale.SEV
    aliases: Mapping[Severity, tuple[str, ...]] = field(default_factory=dict)
    zone: str = "UTC"
    targets: Mapping[Severity, Targets] = field(default_factory=dict)
    warnings: tuple[int, ...] = (50, 80)
    silence: int = 2
    audiences: Mapping[str, Audience] = field(default_factory=dict)
    regulations: Mapping[str, Regulation] = field(default_factory=dict)
    calendars: Mapping[str, Calendar] = field(default_factory=lambda: {BUSINESS: Calendar()})
    ladders: Mapping[Severity, tuple[Step, ...]] = field(default_factory=dict)
    first_notice: Mapping[Severity, FirstNotice] = field(default_factory=dict)
    channels: Mapping[str, Channel] = field(default_factory=dict)
    people: Mapping[str, Person] = field(default_factory=dict)
    contacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    teams: Mapping[str, Team] = field(default_factory=dict)
    roles: Mapping[str, Duty] = field(default_factory=dict)
    rotations: Mapping[str, Rotation] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    runbooks: Mapping[str, Runbook] = field(default_factory=dict)
    war_room: WarRoom = field(default_factory=WarRoom)
    overrides: tuple[Override, ...] = ()
    matrix: Mapping[Level, Mapping[Level, Severity]] = field(default_factory=lambda: MATRIX)
    floors: tuple[Floor, ...] = FLOORS
    labels: Labels = field(default_factory=Labels)
    intake: Intake = field(default_factory=Intake)
    alerts: Mapping[str, Alert] = field(default_factory=dict)
    closing: Closing = field(default_factory=Closing)
    postmortem: Postmortem = field(default_factory=Postmortem)
    goals: Goals = field(default_factory=Goals)
    retention: Retention = field(default_factory=Retention)

    def targets_of(self, severity: Severity) -> Targets:
        """The clocks of that severity; none run where the policy names none."""
        return self.targets.get(severity, _NO_TARGETS)

    def first_notice_of(self, severity: Severity) -> FirstNotice:
        return self.first_notice.get(severity, _NO_NOTICE)

    def severity(self, name: str) -> Severity | None:
        """The severity that `name` has here: one of `aliases`, or a name on the scale.  None: it is no severity here."""
        folded = name.casefold()
        for severity, names in self.aliases.items():
            if any(folded == alias.casefold() for alias in names):
                return severity
        return self.scale.read(name)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` makes of this policy, which never changes: worked out once for a key, and remembered for a while.

        A key begins with the name of whoever asks, and holds all that `make` looks at beside the policy.
        """
        try:
            return cast("Made", self.made[key])
        except KeyError:
            if len(self.made) >= REMEMBERED:  # names of services come from anybody who can open an issue
                self.made.clear()
            return cast("Made", self.made.setdefault(key, make()))

    @cached_property
    def made(self) -> dict[Hashable, object]:
        """What was made of this policy, by the keys of `once`."""
        return {}
