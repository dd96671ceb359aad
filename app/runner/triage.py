"""Handles one event of an issue: `muster run triage` and `muster run postmortem`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from app.github import inbound
from app.runner.actions_io import Workflow
from app.runner.active_policy import InForce
from app.runner.context import TITLE, Run, carried_out
from app.runner.incident_run import Left, Looked, errand_of, look_after
from app.runner.summary import nothing, of_incident

_PARSE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, inbound.Unreadable)
"""Errors from an event payload that is not as expected."""


def triage(workflow: Workflow) -> int:
    """Grade, label, page and show the incident that this run is about, as far as not yet done.

    Returns 0 if everything is as it should be, 1 for a problem that a person can correct.  Raises WorkflowError outside
    a workflow.
    """
    return carried_out(workflow, partial(_once, opens=False))


def postmortem(workflow: Workflow) -> int:
    """Do the same as `triage`, and open the postmortem pull request if it is requested."""
    return carried_out(workflow, partial(_once, opens=True))


def _once(run: Run, payload: Mapping[str, Any], *, opens: bool) -> int:
    force = run.policy()
    try:
        errand = errand_of(run, run.workflow.event, payload, force, opens=opens)
    except _PARSE_ERRORS as problem:
        run.workflow.say("error", f"The event of this run is not what GitHub sends ({problem!r:.200}).", title=TITLE)
        return 1
    found = errand if isinstance(errand, Left) else look_after(run, errand, force)
    if isinstance(found, Left):
        left_alone(run, found)
    else:
        _tell(run, found, force)
    return 1 if run.faults else 0


def left_alone(run: Run, found: Left) -> None:
    """Print that nothing was done, and why."""
    why = found.why if found.app is None else f"{found.why}, as {found.app.url} shows: nothing is done twice."
    run.workflow.say("notice", why, title=TITLE)
    run.workflow.summarize(nothing(why))
    run.workflow.output("skipped", "true")


def _tell(run: Run, found: Looked, force: InForce) -> None:
    incident, done, workflow = found.incident, found.done, run.workflow
    workflow.summarize(of_incident(incident, force, done, run.clock()))
    workflow.output("skipped", "false")
    workflow.output("issue", incident.number)
    workflow.output("incident", incident.id)
    workflow.output("severity", str(incident.severity))
    workflow.output("status", incident.status.value)
    workflow.output("board", done.board_url)
    workflow.output("notices", len(done.said))
    workflow.output("postmortem", incident.postmortem.url if incident.postmortem else "")
    if incident.postmortem_wanted and incident.postmortem is None:
        workflow.output("postmortem-due", "true")
