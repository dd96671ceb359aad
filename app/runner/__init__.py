"""One run inside GitHub Actions: no server, no database, and no state outside GitHub."""

from app.runner.actions_io import Workflow, WorkflowError
from app.runner.check_policy import check_policy
from app.runner.report import report
from app.runner.sweep import sweep
from app.runner.triage import triage, triage_with_postmortem

__all__ = ["Workflow", "WorkflowError", "check_policy", "report", "sweep", "triage", "triage_with_postmortem"]
