"""Decide what an event does to an incident.

    decide(incident, event, policy, now) -> Decision(incident, effects)

`now` is when the event happened, not when it is processed.  This module has no side effects: the layers above bring
events in and carry effects out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from app.core.clocks import CLOCKS, find_alarm
from app.core.clocks.postmortem import is_merged
from app.core.closing import close_as_confirmed, on_closed, on_reopened
from app.core.commands import COMMANDS, Answer, Call
from app.core.commands.ack import ack
from app.core.commands.escalate import escalate
from app.core.commands.resolve import resolve
from app.core.commands.severity import change_severity
from app.core.commands.status import status as set_status
from app.core.effective_policy import policy_for
from app.core.effects import (
    Effect,
    OpenPostmortem,
    React,
    RefusalNotice,
    Reply,
    RetryRefused,
    SetLabels,
    SeverityQuestion,
    ShowBoard,
)
from app.core.errors import Refused
from app.core.escalation import (
    announce,
    notice_channels,
    resolve_recipients,
    role_holders,
)
from app.core.events import (
    RESPONDER,
    AlarmFired,
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
from app.core.incident import Incident, PostmortemPull, replace
from app.core.labels import desired_labels, labels_unchanged, own_labels
from app.core.policy import ON_CALL, Policy
from app.core.report_edits import build_grading_input, on_edited
from app.core.severity_grading import grade
from app.core.timeline import EntryKind


@dataclass(frozen=True, slots=True)
class Decision:
    """The incident after an event (None: there is none), and the effects to carry out."""

    incident: Incident | None
    effects: tuple[Effect, ...] = ()


def decide(incident: Incident | None, event: Event, policy: Policy, now: datetime) -> Decision:
    """Apply `event`, which happened at `now`, to the incident, and return the effects to carry out."""
    if incident is None:
        if not isinstance(event, Opened):
            return Decision(None)
        new_incident, effects = _on_opened(event, policy, now)
        new_incident = replace(new_incident, labels=desired_labels(new_incident, policy))
        return Decision(new_incident, (*effects, SetLabels(labels=new_incident.labels), ShowBoard()))
    handler = _HANDLERS.get(type(event))
    if handler is None:
        return Decision(incident)
    # An edit may change the effective policy; every other event is decided under the current one.
    changed, effects = handler(
        incident, event, policy if isinstance(event, Edited) else policy_for(policy, incident), now
    )
    if changed is incident:
        return Decision(incident, () if incident.unavailable else effects)
    if changed.disputed_closing is not None:
        changed, closing_effects = close_as_confirmed(changed, event, policy_for(policy, changed), now)
        effects = (*effects, *closing_effects)
    return _add_labels_and_board(incident, changed, event, effects, policy)


def _add_labels_and_board(
    before: Incident, changed: Incident, event: Event, effects: tuple[Effect, ...], policy: Policy
) -> Decision:
    """Append the labels and the board to the effects where they changed.

    Nothing is posted on an unavailable issue; the postmortem is opened all the same, since it is not on the issue.
    """
    if changed.unavailable:
        return Decision(changed, tuple(effect for effect in effects if isinstance(effect, OpenPostmortem)))
    if not labels_unchanged(before, changed, event) and (labels := desired_labels(changed, policy)) != before.labels:
        changed = replace(changed, labels=labels)
        if not any(isinstance(effect, SetLabels) for effect in effects):
            effects = (*effects, SetLabels(labels=labels))
    return Decision(changed, (*effects, ShowBoard()))


def _on_opened(event: Opened, policy: Policy, now: datetime) -> Answer:
    initial_grade = grade(event.report, policy, event.labels)
    incident = Incident(
        id=event.id,
        repo=event.repo,
        number=event.number,
        url=event.url,
        title=event.title,
        opened_by=event.by,
        declared_at=now,
        report=event.report,
        grade=initial_grade,
        severity_set_at=now,
        paging_started_at=now,
        escalation_started_at=now,
        initial_labels=frozenset(label for label in event.labels if policy.labels.severity(label)),
        grading_inputs=(build_grading_input(event, event.report, policy, now),),
        records_transitions=event.asks_roles,
    )
    policy = policy_for(policy, incident)
    declared = "declared the incident by its label" if event.adopted else "reported the incident"
    incident = incident.with_entry(
        now, event, EntryKind.REPORTED, f"{declared}; graded {initial_grade.severity.inline_name(policy.scale)}"
    )
    incident, announcements = announce(
        incident, policy, now, f"a {initial_grade.severity.inline_name(policy.scale)} was declared"
    )
    if not initial_grade.uncertain:
        return incident, announcements
    recipients = resolve_recipients(incident, policy, (ON_CALL,), now)
    doubts, via = event.report.doubts or initial_grade.reasons, notice_channels(incident, policy)
    question = SeverityQuestion(
        key="question", to=recipients.people, unstaffed=recipients.unstaffed, at=now, via=via, doubts=doubts
    )
    return incident, (*announcements, question)


def _on_commented(incident: Incident, event: Commented, policy: Policy, now: datetime) -> Answer:
    """Run each command in order.  Refusals are answered in one reply; commands that ran get one reaction."""
    has_known_command = any(command.name in COMMANDS for command in event.commands)
    if event.role < RESPONDER:
        return _refuse_commands(incident, event, now) if has_known_command else (incident, ())
    if has_known_command:
        incident = incident.with_role(now, event)
    effects: list[Effect] = []
    refusals: list[str] = []
    any_executed = False
    for index, command in enumerate(event.commands):
        call = Call(event.by, now, command.argument.strip(), event, policy, index)
        try:
            incident, command_effects = _run_command(incident, command.name, call)
        except Refused as refusal:
            refusals.append(str(refusal))
        else:
            effects += [effect for effect in command_effects if effect not in effects]
            any_executed |= command.name in COMMANDS and command.name != "help"
    if any_executed:
        effects.append(React(key=f"react/{event.key}", comment=event.comment))
    if refusals:
        effects.append(Reply(key=f"reply/{event.key}", to=event.by, text=" ".join(refusals)))
    return incident, tuple(effects)


def _run_command(incident: Incident, name: str, call: Call) -> Answer:
    """Run one slash command; ignore the commands of other tools, but answer a likely typo with a suggestion."""
    command = COMMANDS.get(name)
    if command is None:
        if near := get_close_matches(name, COMMANDS, n=1, cutoff=0.65):
            raise Refused(f"/{name} is not a command here. Did you mean /{near[0]}? /help lists them all.")
        return incident, ()
    if command.role > call.event.role:
        raise Refused(f"/{command.name} needs the {command.role.name.lower()} role in this repository.")
    return command.run(incident, call)


def _refuse_commands(incident: Incident, event: Commented, now: datetime) -> Answer:
    """Answer a person without the rights once per incident, however often they try.

    Where GitHub did not answer the question about the rights, say so: nothing is known about them.
    """
    if event.role is Role.UNKNOWN:
        text = (
            "I could not ask GitHub whether you may command this incident, so nothing was done. "
            "Please write the command again in some minutes."
        )
        return incident, (Reply(key=f"reply/{event.key}", to=event.by, text=text),)
    already_refused = any(
        known.login == event.by and known.role < RESPONDER and known.answered for known in incident.role_history
    )
    incident = incident.with_role(now, event)
    if already_refused:
        return incident, ()
    text = (
        f"Commands on {incident.id} are for people with at least the triage role in this repository; "
        f"yours is {event.role.name.lower()}. Your comment stays for everybody to read."
    )
    return incident, (Reply(key=f"reply/rights/{event.by}", to=event.by, text=text),)


def _on_labeled(incident: Incident, event: Labeled, policy: Policy, now: datetime) -> Answer:
    """Run the command that a label stands for, on behalf of the person who added it."""
    if event.label not in own_labels(policy.labels):
        return incident, ()
    restored = () if event.label in incident.labels else (SetLabels(labels=incident.labels),)
    confirms = incident.grade.uncertain and event.label in policy.labels.severities
    command = _command_for_label(incident, event.label, policy) if restored or confirms else None
    if command is None:
        return incident, restored
    if event.role is not Role.UNKNOWN:
        incident = incident.with_role(now, event)
    if event.role < RESPONDER:
        return incident, restored
    try:
        changed, effects = command(incident, Call(event.by, now, "", event, policy))
    except Refused:
        return incident, restored
    return changed, (*effects, SetLabels(labels=desired_labels(changed, policy)))


def _command_for_label(incident: Incident, label: str, policy: Policy) -> Callable[[Incident, Call], Answer] | None:
    """Return the command that a label stands for, or None."""
    names = policy.labels
    if severity := names.severity(label):
        return (lambda incident, call: change_severity(incident, call, severity, "")) if incident.status.open else None
    if label == names.mitigated:
        return lambda incident, call: set_status(incident, dataclasses.replace(call, argument="mitigated"))
    return {names.escalate: escalate, names.acknowledged: ack, names.resolved: resolve}.get(label)


def _on_unlabeled(incident: Incident, event: Unlabeled, policy: Policy, now: datetime) -> Answer:
    return incident, (SetLabels(labels=incident.labels),) if event.label in incident.labels else ()


def _on_issue_unavailable(incident: Incident, event: IssueUnavailable, policy: Policy, now: datetime) -> Answer:
    if incident.unavailable == event.reason:
        return incident, ()
    return replace(incident, unavailable=event.reason).with_entry(
        now, event, EntryKind.AVAILABILITY, f"the issue was {event.reason}"
    ), ()


def _on_issue_available(incident: Incident, event: IssueAvailable, policy: Policy, now: datetime) -> Answer:
    if not incident.unavailable:
        return incident, ()
    incident = replace(
        incident,
        unavailable="",
        returned_at=now,
        paging_started_at=now if incident.is_paging else incident.paging_started_at,
    )
    return incident.with_entry(now, event, EntryKind.AVAILABILITY, "the issue came back"), (
        SetLabels(labels=desired_labels(incident, policy)),
    )


def _on_conversation_locked(incident: Incident, event: ConversationLocked, policy: Policy, now: datetime) -> Answer:
    """Record that comments have to wait; clocks, labels, assignments and channels go on."""
    if incident.conversation_locked:
        return incident, ()
    return replace(incident, conversation_locked=True).with_entry(
        now, event, EntryKind.AVAILABILITY, "the issue was locked"
    ), ()


def _on_conversation_unlocked(incident: Incident, event: ConversationUnlocked, policy: Policy, now: datetime) -> Answer:
    if not incident.conversation_locked:
        return incident, ()
    return replace(incident, conversation_locked=False).with_entry(
        now, event, EntryKind.AVAILABILITY, "the issue was unlocked"
    ), (RetryRefused(key=f"retry/{event.key}"),)


def _on_postmortem_opened(incident: Incident, event: PostmortemOpened, policy: Policy, now: datetime) -> Answer:
    """Record the pull request.  A postmortem that was merged stays merged, whatever is proposed later."""
    pull = PostmortemPull(event.pull, event.url)
    if incident.postmortem == pull or is_merged(incident):
        return incident, ()
    wanted_at = incident.postmortem_wanted_at if incident.postmortem_wanted else now
    return replace(
        incident, postmortem=pull, postmortem_wanted=True, postmortem_wanted_at=wanted_at, postmortem_refusal=""
    ).with_entry(now, event, EntryKind.POSTMORTEM, "opened the postmortem"), ()


def _on_postmortem_refused(incident: Incident, event: PostmortemRefused, policy: Policy, now: datetime) -> Answer:
    """Record why GitHub refuses the pull request, and tell it once to those who can change it."""
    refusal = f"GitHub says “{event.reason}”. {event.advice}".rstrip()
    if incident.postmortem is not None or incident.postmortem_refusal == refusal:
        return incident, ()
    recipients = role_holders(incident, policy, policy.postmortem.reviewers, now)
    notice = RefusalNotice(
        key="refused/postmortem",
        to=recipients.people,
        unstaffed=recipients.unstaffed,
        at=now,
        what="the postmortem pull request",
        reason=event.reason,
        advice=event.advice,
    )
    return replace(incident, postmortem_refusal=refusal).with_entry(
        now, event, EntryKind.POSTMORTEM, "could not open the postmortem", event.reason
    ), (notice,)


def _on_postmortem_ended(
    incident: Incident, event: PostmortemMerged | PostmortemDropped, policy: Policy, now: datetime
) -> Answer:
    state = "merged" if isinstance(event, PostmortemMerged) else "dropped"
    pull = incident.postmortem or PostmortemPull(event.pull, event.url)
    if pull.number != event.pull or pull.state == state or is_merged(incident):
        return incident, ()
    text = "merged the postmortem" if state == "merged" else "closed the postmortem without merging it"
    return replace(incident, postmortem=dataclasses.replace(pull, state=state, ended_at=now)).with_entry(
        now, event, EntryKind.POSTMORTEM, text
    ), ()


def _on_alarm_fired(incident: Incident, event: AlarmFired, policy: Policy, now: datetime) -> Answer:
    """Fire an alarm, unless it is no longer due: the store may fire one that has just become obsolete."""
    alarm = find_alarm(event.alarm, incident, policy)
    if alarm is None or alarm.due > now:
        return incident, ()
    return CLOCKS[alarm.clock].fire(replace(incident, fired_alarms=incident.fired_alarms | {alarm.key}), alarm, policy)


_HANDLERS: dict[type[Event], Callable[[Incident, Any, Policy, datetime], Answer]] = {
    Edited: on_edited,
    Commented: _on_commented,
    Labeled: _on_labeled,
    Unlabeled: _on_unlabeled,
    Closed: on_closed,
    Reopened: on_reopened,
    IssueUnavailable: _on_issue_unavailable,
    IssueAvailable: _on_issue_available,
    ConversationLocked: _on_conversation_locked,
    ConversationUnlocked: _on_conversation_unlocked,
    PostmortemOpened: _on_postmortem_opened,
    PostmortemRefused: _on_postmortem_refused,
    PostmortemMerged: _on_postmortem_ended,
    PostmortemDropped: _on_postmortem_ended,
    AlarmFired: _on_alarm_fired,
}
