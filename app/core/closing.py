"""Decide what the closing and reopening of the issue change, which depends on the rights of who did it.

GitHub lets the author of an issue close and reopen it.  Their own report, which no responder has confirmed, they may
end so; what responders have confirmed ends when one of them says so.
"""

from __future__ import annotations

from datetime import datetime

from app.core.calendar import Pause
from app.core.commands import Answer
from app.core.commands.postmortem import open_postmortem
from app.core.effects import ClosingQuestion
from app.core.escalation import current_owner, notice_channels
from app.core.events import Closed, Event, Reopened, is_without_rights
from app.core.incident import DisputedClosing, Incident, replace
from app.core.lifecycle import Status, next_status
from app.core.noise_limits import UNCONFIRMED_PERIOD, is_confirmed
from app.core.policy import Policy
from app.core.timeline import EntryKind

_BOT_SUFFIX = "[bot]"


def on_closed(incident: Incident, event: Closed, policy: Policy, now: datetime) -> Answer:
    """Close the incident, or ask a responder whether it is over."""
    if incident.status is Status.CLOSED or (incident.disputed_closing is not None and is_without_rights(event)):
        return incident, ()
    incident = incident.with_transition_role(now, event)
    is_own_report = event.by == incident.opened_by and not is_confirmed(incident)
    if is_without_rights(event) and incident.status.open and not is_own_report:
        return _ask_whether_over(incident, event, policy, now)
    is_trusted = not event.role_known and not event.by.endswith(_BOT_SUFFIX)
    return _close(incident, event, policy, now, "closed the issue", confirmed=is_trusted or is_confirmed(incident))


def close_as_confirmed(incident: Incident, event: Event, policy: Policy, now: datetime) -> Answer:
    """Close the incident whose issue was closed without rights, if a responder has resolved it meanwhile."""
    closing = incident.disputed_closing
    if closing is None or incident.status not in (Status.RESOLVED, Status.VERIFIED):
        return incident, ()
    return _close(incident, event, policy, now, f"confirmed that it is over, as {closing.by} said", confirmed=True)


def _close(incident: Incident, event: Event, policy: Policy, now: datetime, text: str, *, confirmed: bool) -> Answer:
    """Close the incident: stop the clocks, and open the postmortem where the severity requires one (P1, P3)."""
    incident = replace(
        incident,
        status=next_status(incident.status, "close"),
        closed_at=now,
        resolved_at=incident.resolved_at or now,
        mitigated_at=incident.mitigated_at or now,
        page_acknowledged_at=now if incident.is_paging else incident.page_acknowledged_at,
        responded_at=incident.responded_at or now,
        disputed_closing=None,
    ).with_entry(now, event, EntryKind.CLOSED, text)
    if incident.postmortem_wanted or not confirmed or incident.severity not in policy.postmortem.required:
        return incident, ()
    return replace(incident, postmortem_wanted=True, postmortem_wanted_at=now), (open_postmortem(),)


def _ask_whether_over(incident: Incident, event: Closed, policy: Policy, now: datetime) -> Answer:
    """Keep the incident open, and ask its commander or the people on call once whether it is over."""
    key = f"closing/{incident.reopen_count}"
    was_asked = key in incident.fired_alarms
    incident = replace(
        incident,
        disputed_closing=DisputedClosing(now, event.by),
        fired_alarms=incident.fired_alarms | {key},
    ).with_entry(now, event, EntryKind.CLOSED, "closed the issue", "without rights here, so every clock goes on")
    if was_asked:
        return incident, ()
    recipients = current_owner(incident, policy, now)
    question = ClosingQuestion(
        key=key,
        to=recipients.people,
        unstaffed=recipients.unstaffed,
        at=now,
        via=notice_channels(incident, policy),
        closed_by=event.by,
    )
    return incident, (question,)


def on_reopened(incident: Incident, event: Reopened, policy: Policy, now: datetime) -> Answer:
    """Reopen the incident: paging and escalation start again, unless the report of an outsider was just closed.

    The time it was resolved becomes a pause, which its targets do not count.
    """
    if incident.disputed_closing is not None:
        incident = replace(incident.with_transition_role(now, event), disputed_closing=None)
        return incident.with_entry(now, event, EntryKind.REOPENED, "reopened the issue"), ()
    if incident.status is not Status.CLOSED:
        return incident, ()
    incident = incident.with_transition_role(now, event)
    if is_without_rights(event) and not is_confirmed(incident) and incident.responded_at == incident.closed_at:
        incident = replace(incident, responded_at=None)  # that the reporter had closed it was no response
    if not _continues(incident, event, now):
        incident = replace(
            incident,
            pauses=(*incident.pauses, Pause(incident.resolved_at, now)) if incident.resolved_at else incident.pauses,
            paging_started_at=now,
            escalation_started_at=now,
            reopen_count=incident.reopen_count + 1,
        )
    return replace(
        incident,
        status=next_status(incident.status, "reopen"),
        page_acknowledged_at=None,
        mitigated_at=None,
        resolved_at=None,
        closed_at=None,
    ).with_entry(now, event, EntryKind.REOPENED, "reopened the issue"), ()


def _continues(incident: Incident, event: Reopened, now: datetime) -> bool:
    """Return True if the reopening restarts nothing: the incident is unconfirmed, and it paged a moment ago.

    It goes on as if it had not been closed, and its next page comes when it was due anyway.
    """
    return (
        is_without_rights(event)
        and not is_confirmed(incident)
        and now - incident.paging_started_at < UNCONFIRMED_PERIOD
    )
