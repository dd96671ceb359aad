"""Hypothesis strategies for incident logs: any events in any order, often several within one second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any

from hypothesis import strategies as st

from app.core.effects import Effect, Page, ShowBoard
from app.core.events import (
    Closed,
    Commented,
    ConversationLocked,
    ConversationUnlocked,
    Edited,
    Event,
    IssueAvailable,
    IssueUnavailable,
    Labeled,
    Opened,
    PostmortemDropped,
    PostmortemMerged,
    PostmortemOpened,
    PostmortemRefused,
    Reopened,
    Role,
    Unlabeled,
)
from app.core.incident_report import Exposure, IncidentReport, Kind, Level
from app.core.policy import (
    Calendar,
    Duration,
    Override,
    Policy,
    RoleHolders,
    Rotation,
    Service,
    Step,
    Target,
    Team,
    Until,
)
from app.core.severity import Severity
from app.core.slash_command import SlashCommand
from app.policy_file import PROFILES, load_profile

DECLARED = datetime(2026, 3, 13, 15, 59, 58, tzinfo=UTC)
COMMAND_LINES = (
    "ack",
    "update We look.",
    "update",
    "status investigating",
    "status mitigated",
    "status resolved",
    "status verified",
    "severity sev1 worse",
    "severity sev2",
    "severity sev4",
    "severity P0",
    "escalate help",
    "resolve done",
    "postmortem",
    "help",
    "akc",
    "lgtm",
)
LABELS = (
    *("sev1", "sev2", "sev3", "sev4", "incident", "acknowledged", "mitigated", "resolved", "escalate"),
    *("needs-triage", "sla-breached", "postmortem-due", "bug"),
)
PAUSE_SECONDS = (0, 0, 0, 1, 1, 59, 60, 300, 899, 900, 3_600, 14_400, 90_000)
"""Seconds between two events, among them the ends of targets and one second before each."""

Log = list[tuple[datetime, Event]]

reports = st.builds(
    IncidentReport,
    severity=st.sampled_from((None, *Severity)),
    impact=st.sampled_from((None, *Level)),
    urgency=st.sampled_from((None, *Level)),
    kind=st.sampled_from((None, *Kind)),
    detected_at=st.sampled_from((None, DECLARED - timedelta(hours=71), DECLARED + timedelta(hours=1))),
    services=st.sampled_from(((), ("Checkout",), ("search", "checkout"), ("unknown",))),
    personal_data=st.sampled_from((None, *Exposure)),
    doubts=st.sampled_from(((), ("severity: 'kaputt' is none of sev1 to sev4",))),
)


CUSTOM_PROFILE = "house"
"""A profile for these tests: `strict` with services, teams, rotations and overrides."""


@cache
def staffed_policy(profile: str) -> Policy:
    """Return the policy of a profile with people: two on call, one for each other contact, no CTO."""
    policy = _custom_policy() if profile == CUSTOM_PROFILE else load_profile(profile)
    contacts = {name: (name,) for name in policy.contacts if name != "cto"}
    return replace(policy, contacts={**contacts, "on-call": ("mona", "hubot")})


def _custom_policy() -> Policy:
    """Build the custom profile.

    The rotation of `checkout` hands over at 16:00, two seconds after most logs begin.
    """
    strict, respond_within = load_profile("strict"), Duration(seconds=20 * 60)
    paging_steps = (Step(Duration(), ("on-call",), until=Until.ACK, repeat=Duration(seconds=300)),)
    return replace(
        strict,
        services={"checkout": Service("payments", "shop-rota", ("shop",)), "search": Service("finders")},
        teams={"payments": Team(("mona",), "late"), "finders": Team(("octocat",))},
        calendars={**strict.calendars, "late": Calendar("Europe/Berlin", time(12), time(20), country="DE")},
        rotations={
            "shop-rota": Rotation(
                ("hubot", "octocat"), turn=Duration(seconds=12 * 3600), starts=date(2026, 3, 1), hand_off=time(16)
            )
        },
        roles={"commander": RoleHolders(("ada",), ("grace",)), "communications-lead": RoleHolders(("linus",))},
        overrides=(
            Override(("search",), (), {Severity.SEV3: {"respond": Target(respond_within, "team"), "update": None}}),
            Override((), (Kind.SECURITY,), ladders={Severity.SEV1: paging_steps}, contacts={"on-call": ("vera",)}),
        ),
    )


profiles = st.sampled_from((*PROFILES, CUSTOM_PROFILE))
_author_fields: dict[str, st.SearchStrategy[Any]] = {
    "by": st.sampled_from(("mona", "hubot", "octocat")),
    "role": st.sampled_from((Role.WRITE, Role.WRITE, Role.TRIAGE, Role.READ)),
}
_commands = st.lists(
    st.sampled_from(COMMAND_LINES).map(lambda line: SlashCommand(*line.split(" ", 1))), min_size=1, max_size=3
).map(tuple)
_events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Commented, comment=st.just(1), commands=_commands, **_author_fields),
    st.builds(Commented, comment=st.just(1), commands=_commands, **_author_fields),
    st.builds(Labeled, label=st.sampled_from(LABELS), **_author_fields),
    st.builds(Unlabeled, label=st.sampled_from(LABELS), **_author_fields),
    st.builds(Edited, title=st.sampled_from(("down", "up")), report=reports, **_author_fields),
    st.builds(Closed, **_author_fields),
    st.builds(Reopened, **_author_fields),
    st.builds(IssueUnavailable, reason=st.just("gone"), **_author_fields),
    st.builds(ConversationLocked, **_author_fields),
    st.builds(ConversationUnlocked, **_author_fields),
    st.builds(PostmortemRefused, reason=st.just("No"), advice=st.just("Ask again.")),
    st.builds(IssueAvailable, **_author_fields),
    st.builds(PostmortemOpened, pull=st.sampled_from((8, 9))),
    st.builds(PostmortemMerged, pull=st.sampled_from((8, 9))),
    st.builds(PostmortemDropped, pull=st.sampled_from((8, 9))),
)


@st.composite
def logs(draw: st.DrawFn, max_events: int = 20) -> Log:
    """Draw a log in its order: the opening, and the events after it."""
    opened = Opened(
        id="INC-2026-0313-001", repo="acme/shop", number=7, title="down", by="ada", key="issue/7", report=draw(reports)
    )
    log: Log = [(DECLARED, opened)]
    for number, (event, pause) in enumerate(
        draw(st.lists(st.tuples(_events, st.sampled_from(PAUSE_SECONDS)), max_size=max_events)), start=98
    ):
        kind = "comment" if isinstance(event, Commented) else "event"
        log.append((log[-1][0] + timedelta(seconds=pause), replace(event, key=f"{kind}/{number}")))
    return log


def told_once(effects: Iterable[Effect]) -> list[Effect]:
    """Return the effects without boards and later pages: a fold over a stretch makes only the last of each."""
    return [
        effect
        for effect in effects
        if not isinstance(effect, ShowBoard) and not (isinstance(effect, Page) and effect.attempt > 10)
    ]
