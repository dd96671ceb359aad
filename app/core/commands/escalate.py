"""`/escalate`: notify the next escalation step now.  The label `escalate` does the same."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command, with_activity
from app.core.effects import Escalate
from app.core.errors import Refused
from app.core.escalation import next_step, notice_channels, resolve_recipients
from app.core.events import RESPONDER
from app.core.incident import Incident, replace
from app.core.timeline import EntryKind


def escalate(incident: Incident, call: Call) -> Answer:
    """Notify the next escalation step now, also when it is not due yet."""
    if not incident.status.open:
        raise Refused(f"{incident.id} is {incident.status}. Reopen the issue if it goes on, then /escalate reason.")
    step = next_step(incident, call.policy)
    because = f"{call.by} asked for it" + (f": {call.argument}" if call.argument else "")
    incident = replace(with_activity(incident, call), fired_alarms=incident.fired_alarms | {step.key})
    recipients = resolve_recipients(incident, call.policy, step.contacts, call.at)
    notice = Escalate(
        key=f"escalate/{call.key}",
        to=recipients.people,
        unstaffed=recipients.unstaffed,
        at=call.at,
        via=notice_channels(incident, call.policy, step.via),
        contacts=step.contacts,
        because=because,
        do=step.do,
    )
    text = f"escalated to {', '.join(step.contacts)}"
    return incident.with_entry(call.at, call.event, EntryKind.ESCALATED, text, call.argument), (notice,)


COMMAND = Command("escalate", "/escalate reason", "Tell the next rung of the ladder now.", RESPONDER, escalate)
