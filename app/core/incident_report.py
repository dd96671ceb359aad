"""The incident report: the reporter's answers (A2, A6, A7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from app.core.severity import Severity


class Level(Enum):
    """The degree of impact or urgency."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Kind(Enum):
    """The type of an incident (A6)."""

    OUTAGE = "service outage"
    DEGRADATION = "performance degradation"
    DATA_LOSS = "data loss or corruption"
    SECURITY = "security breach"
    INTEGRATION = "integration failure"
    PRIVACY = "data privacy incident"


class Source(Enum):
    """The way an incident was detected (A7)."""

    MONITORING = "monitoring alert"
    HEALTH_CHECK = "health check"
    USER = "user report"
    SUPPORT = "support ticket"
    INTERNAL = "internal discovery"
    SECURITY = "security monitoring"
    THIRD_PARTY = "third-party notice"
    ROUTINE = "routine check"


class Exposure(Enum):
    """Whether personal data may be exposed."""

    YES = "yes"
    POSSIBLY = "possibly"
    NO = "no"


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """The answers of one incident report, as far as they could be parsed.

    None, or an empty text, means unanswered or not understood; what was answered but not understood is named
    in `doubts`, in words for the reporter.  `structured` is False for free text without a single known heading.
    Texts are user input, so treat them as untrusted data everywhere.
    """

    summary: str = ""
    severity: Severity | None = None
    impact: Level | None = None
    urgency: Level | None = None
    kind: Kind | None = None
    services: tuple[str, ...] = ()
    source: Source | None = None
    started_at: datetime | None = None
    detected_at: datetime | None = None
    symptoms: str = ""
    affected: str = ""
    revenue: str = ""
    workaround: str = ""
    personal_data: Exposure | None = None
    doubts: tuple[str, ...] = ()
    structured: bool = True
