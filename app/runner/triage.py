"""Handle one event of an issue: `muster run triage` and `muster run postmortem`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from app.github import inbound
from app.runner.actions_io import Workflow
from app.runner.active_policy import RunnerPolicy
from app.runner.context import TITLE, RunContext, run_command
from app.runner.incident_run import Handled, RulesFailed, Skipped, handle_incident, task_for_event
from app.runner.summary import incident_summary, skipped_summary

_PARSE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, inbound.Unreadable)
"""Errors from an event payload that is not as expected."""


def triage(workflow: Workflow) -> int:
    """Grade, label, page and show the incident that this run is about, as far as not yet done.

    Returns 0 if everything is as it should be, 1 for a problem that a person can correct.  Raises WorkflowError outside
    a workflow.
    """
    return run_command(workflow, partial(_run_once, open_postmortem=False))


def triage_with_postmortem(workflow: Workflow) -> int:
    """Do the same as `triage`, and open the postmortem pull request if it is requested."""
    return run_command(workflow, partial(_run_once, open_postmortem=True))


def _run_once(run: RunContext, payload: Mapping[str, Any], *, open_postmortem: bool) -> int:
    active = run.active_policy()
    try:
        task = task_for_event(run, run.workflow.event, payload, active, open_postmortem=open_postmortem)
    except _PARSE_ERRORS as problem:
        run.workflow.annotate(
            "error", f"The event of this run is not what GitHub sends ({problem!r:.200}).", title=TITLE
        )
        return 1
    try:
        result = task if isinstance(task, Skipped) else handle_incident(run, task, active)
    except RulesFailed as failed:
        run.workflow.annotate("error", f"{failed}.", title=TITLE)
        return 1
    if isinstance(result, Skipped):
        report_skipped(run, result)
    else:
        _write_outputs(run, result, active)
    return 1 if run.has_faults else 0


def report_skipped(run: RunContext, skipped: Skipped) -> None:
    """Print that nothing was done, and why."""
    reason = (
        skipped.reason
        if skipped.app_comment is None
        else f"{skipped.reason}, as {skipped.app_comment.url} shows: nothing is done twice."
    )
    run.workflow.annotate("notice" if skipped.app_comment is None else "warning", reason, title=TITLE)
    run.workflow.append_summary(skipped_summary(reason))
    run.workflow.set_output("skipped", "true")


def _write_outputs(run: RunContext, handled: Handled, active: RunnerPolicy) -> None:
    incident, outcome, workflow = handled.incident, handled.outcome, run.workflow
    workflow.append_summary(incident_summary(incident, active, outcome, run.clock()))
    workflow.set_output("skipped", "false")
    workflow.set_output("issue", incident.number)
    workflow.set_output("incident", incident.id)
    workflow.set_output("severity", str(incident.severity))
    workflow.set_output("status", incident.status.value)
    workflow.set_output("board", outcome.board_url)
    workflow.set_output("notices", len(outcome.notices))
    workflow.set_output("postmortem", incident.postmortem.url if incident.postmortem else "")
    if incident.postmortem_wanted and incident.postmortem is None:
        workflow.set_output("postmortem-due", "true")
