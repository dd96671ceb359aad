"""The policy of a team: targets, escalation, people, names. Data only; the rules that use it are elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, cast

from app.core.incident_report import Level
from app.core.policy.channels import ENV_PREFIX, ChannelConfig, ChannelKind, channel_name, feed_name
from app.core.policy.clocks import BUSINESS, TEAM, Audience, Calendar, Regulation, Since, Target, Targets
from app.core.policy.closing import Closing, Goals, Postmortem, Retention
from app.core.policy.duration import Duration
from app.core.policy.escalation import FirstNotice, Step, Until, Via
from app.core.policy.intake import FLOORS, MATRIX, AlertRule, Floor, Intake
from app.core.policy.labels import Labels
from app.core.policy.people import (
    COMMANDER,
    COMMUNICATIONS,
    ON_CALL,
    OWNER,
    OnCallOverride,
    Person,
    RoleHolders,
    Rotation,
    Shift,
    Team,
)
from app.core.policy.services import Override, Runbook, Service, WarRoom
from app.core.severity import Scale, Severity

__all__ = [
    "BUSINESS",
    "COMMANDER",
    "COMMUNICATIONS",
    "ENV_PREFIX",
    "FLOORS",
    "MATRIX",
    "ON_CALL",
    "OWNER",
    "TEAM",
    "AlertRule",
    "Audience",
    "Calendar",
    "ChannelConfig",
    "ChannelKind",
    "Closing",
    "Duration",
    "FirstNotice",
    "Floor",
    "Goals",
    "Intake",
    "Labels",
    "OnCallOverride",
    "Override",
    "Person",
    "Policy",
    "Postmortem",
    "Regulation",
    "Retention",
    "RoleHolders",
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
    "channel_name",
    "feed_name",
]

CachedT = TypeVar("CachedT")

MAX_CACHE_ENTRIES = 1000
"""Upper bound of a policy's cache of derived values; the cache is cleared when it is full."""

_NO_TARGETS = Targets()
_NO_NOTICE = FirstNotice()


@dataclass(frozen=True)
class Policy:
    """Everything a team has decided.

    The shipped profiles fill it; a repository's file overrides parts of it.

    `zone` is the IANA zone in which times are shown beside UTC. `aliases` are additional names of severities.
    `contacts` maps the names that a step's `to` uses, such as `on-call` or `it-manager`, to logins: people are
    mentioned, not teams (E8); `roles`, `teams` and `rotations` can be named there too. `warnings` are percentages of a
    target. `silence` is the number of missed update cadences after which the paging of an acknowledged incident
    restarts (E3).
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
    channels: Mapping[str, ChannelConfig] = field(default_factory=dict)
    people: Mapping[str, Person] = field(default_factory=dict)
    contacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    teams: Mapping[str, Team] = field(default_factory=dict)
    roles: Mapping[str, RoleHolders] = field(default_factory=dict)
    rotations: Mapping[str, Rotation] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    runbooks: Mapping[str, Runbook] = field(default_factory=dict)
    war_room: WarRoom = field(default_factory=WarRoom)
    overrides: tuple[Override, ...] = ()
    matrix: Mapping[Level, Mapping[Level, Severity]] = field(default_factory=lambda: MATRIX)
    floors: tuple[Floor, ...] = FLOORS
    labels: Labels = field(default_factory=Labels)
    intake: Intake = field(default_factory=Intake)
    alerts: Mapping[str, AlertRule] = field(default_factory=dict)
    closing: Closing = field(default_factory=Closing)
    postmortem: Postmortem = field(default_factory=Postmortem)
    goals: Goals = field(default_factory=Goals)
    retention: Retention = field(default_factory=Retention)

    def targets_of(self, severity: Severity) -> Targets:
        """Return the targets of that severity; no clock runs where the policy names none."""
        return self.targets.get(severity, _NO_TARGETS)

    def first_notice_of(self, severity: Severity) -> FirstNotice:
        """Return how a new incident of that severity is announced."""
        return self.first_notice.get(severity, _NO_NOTICE)

    def severity(self, name: str) -> Severity | None:
        """Return the severity that has this name, one of `aliases` or a name on the scale; None if there is none."""
        normalized = name.casefold()
        for severity, names in self.aliases.items():
            if any(normalized == alias.casefold() for alias in names):
                return severity
        return self.scale.parse(name)

    def compute_once(self, key: Hashable, compute: Callable[[], CachedT]) -> CachedT:
        """Return the value for this key, computed once and cached; the policy itself never changes.

        A key begins with the name of the caller and holds everything `compute` reads beside the policy.
        """
        try:
            return cast("CachedT", self._cache[key])
        except KeyError:
            if len(self._cache) >= MAX_CACHE_ENTRIES:  # keys hold service names, which any reporter can choose
                self._cache.clear()
            return cast("CachedT", self._cache.setdefault(key, compute()))

    @cached_property
    def _cache(self) -> dict[Hashable, object]:
        """The values derived from this policy, by the keys of `cached`."""
        return {}
