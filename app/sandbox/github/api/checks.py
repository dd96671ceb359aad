"""API routes for check runs."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from app.sandbox.github.account_json import format_time
from app.sandbox.github.api.gateway import PREFIX, Call, Gateway, Reply
from app.sandbox.github.errors import ApiError, invalid_field, not_found
from app.sandbox.github.world import CheckRun

STATUSES = ("queued", "in_progress", "completed", "waiting", "requested", "pending")
MAX_ANNOTATIONS = 50
ANNOTATION_LEVELS = ("notice", "warning", "failure")
CONCLUSIONS = ("action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out")


def blueprint(gateway: Gateway) -> Blueprint:
    """Register the routes of check runs."""
    part = Blueprint("checks", __name__, url_prefix=PREFIX)
    repo = "/repos/<owner>/<repo>"
    gateway.route(part, "POST", f"{repo}/check-runs", create, "checks:write")
    gateway.route(part, "PATCH", f"{repo}/check-runs/<int:check_run_id>", update, "checks:write")
    gateway.route(part, "GET", f"{repo}/commits/<path:ref>/check-runs", list_for_ref, "checks:read")
    return part


def create(call: Call) -> Reply:
    """Create a check run."""
    if call.caller.installation is None:
        raise ApiError(403, "You must authenticate via a GitHub App.")
    run = CheckRun(
        id=call.world.new_id(),
        name=call.required_field("name", "CheckRun"),
        head_sha=call.required_field("head_sha", "CheckRun"),
        status="queued",
        conclusion=None,
        started_at=format_time(call.changes.now()),
        completed_at=None,
        details_url=None,
        external_id=None,
        output={},
    )
    _update_from_body(call, run)
    call.changes.save_check_run(call.repository, call.actor, run, _action(run))
    return Reply(call.serializer.check_run(call.repository, run), 201)


def update(call: Call) -> Reply:
    """Update a check run."""
    if call.caller.installation is None:
        raise ApiError(403, "You must authenticate via a GitHub App.")
    run = call.repository.check_runs.get(call.path["check_run_id"])
    if run is None:
        raise not_found()
    run.name = call.body_field("name", str, run.name)
    _update_from_body(call, run)
    call.changes.save_check_run(call.repository, call.actor, run, _action(run))
    return Reply(call.serializer.check_run(call.repository, run))


def list_for_ref(call: Call) -> Reply:
    """List the check runs of a commit, by default the newest of each name."""
    repository = call.repository
    commit = repository.git.resolve(call.path["ref"])
    if commit is None:
        raise ApiError(422, f"No commit found for SHA: {call.path['ref']}")
    args = call.request.args
    runs = repository.checks_by_sha.get(commit.sha, [])
    if args.get("app_id") not in (None, str(call.gateway.app.app_id)):
        runs = []
    found = [
        run for run in runs if args.get("check_name") in (None, run.name) and args.get("status") in (None, run.status)
    ]
    if args.get("filter", "latest") == "latest":
        found = list({run.name: run for run in found}.values())
    return call.paginate(found, lambda run: call.serializer.check_run(repository, run), "check_runs")


def _check_annotations(annotations: Any) -> None:
    """Check annotations as GitHub does. Raises ApiError 422."""
    if not isinstance(annotations, list) or not all(isinstance(annotation, dict) for annotation in annotations):
        raise ApiError(422, "Invalid request.\n\nFor 'properties/annotations', an array of objects was expected.")
    if len(annotations) > MAX_ANNOTATIONS:
        raise ApiError(
            422,
            f"Invalid request.\n\nNo more than {MAX_ANNOTATIONS} items are allowed; {len(annotations)} were supplied.",
        )
    for one in annotations:
        if not (isinstance(one.get("path"), str) and isinstance(one.get("message"), str) and one["message"]):
            raise invalid_field("CheckRun", "annotations", "missing_field")
        lines = one.get("start_line"), one.get("end_line")
        if (
            not all(type(line) is int and line > 0 for line in lines)
            or one.get("annotation_level") not in ANNOTATION_LEVELS
        ):
            raise invalid_field("CheckRun", "annotations")
        if len(one.get("title") or "") > 255:
            raise invalid_field("CheckRun", "annotations", "custom", "title is too long (maximum is 255 characters)")
        if "start_column" in one and lines[0] != lines[1]:
            raise invalid_field("CheckRun", "annotations", "custom", "columns are for annotations of one line")


def _action(run: CheckRun) -> str:
    return "completed" if run.status == "completed" else "created"


def _update_from_body(call: Call, run: CheckRun) -> None:
    status, conclusion = call.body_field("status", str, ""), call.body_field("conclusion", str, "")
    if status and status not in STATUSES:
        raise invalid_field("CheckRun", "status")
    if conclusion and conclusion not in CONCLUSIONS:
        raise invalid_field("CheckRun", "conclusion")
    if status == "completed" and not conclusion and run.conclusion is None:
        raise invalid_field("CheckRun", "conclusion", "missing_field")
    output: dict[str, Any] = call.body_field("output", dict, {})
    if output and not (isinstance(output.get("title"), str) and isinstance(output.get("summary"), str)):
        raise invalid_field("CheckRun", "output", "missing_field")
    if any(isinstance(text, str) and len(text) > 65_535 for text in output.values()):
        raise invalid_field("CheckRun", "output", "custom", "Only 65535 characters are allowed.")
    annotations = output.pop("annotations", None) or []
    _check_annotations(annotations)
    run.annotations += annotations
    run.output = {**run.output, **output}
    run.details_url = call.body_field("details_url", str, run.details_url or "") or None
    run.external_id = call.body_field("external_id", str, run.external_id or "") or None
    run.started_at = call.body_field("started_at", str, run.started_at or "") or None
    if conclusion:
        # A conclusion completes the run, whatever the given status.
        run.conclusion, run.status = conclusion, "completed"
        run.completed_at = call.body_field("completed_at", str, "") or format_time(call.changes.now())
    elif status:
        run.status = status
