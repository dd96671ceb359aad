"""Measure what runs of GitHub Actions cost; print, assert nothing.

They are real processes of `python -m app run` against the sandbox GitHub of this process.
"""

from __future__ import annotations

import json
import os
import resource
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from app import runner
from app.sandbox.demo.play import POLICY
from app.sandbox.github import Limits, SandboxGitHub
from app.sandbox.github.world import Repository

OPEN_INCIDENTS, DUE_INCIDENTS = 200, 5
"""How many open incidents a sweep finds, and how many of them have something due."""
_MEASURED_RUNS = 5
"""Measured runs: the most calls and the least processor time count."""
_TOKEN_PERMISSIONS = {"metadata": "read", "contents": "read", "issues": "write", "pull_requests": "read"}
"""The permissions of the run's `GITHUB_TOKEN`."""
_SEV1_BODY = "### What is happening?\n\nThe checkout answers 502 to everybody.\n\n### Severity\n\nSEV1\n"
_SEV3_BODY = "### What is happening?\n\nA picture is missing.\n\n### Severity\n\nSEV3\n"


@dataclass(frozen=True)
class RunCost:
    """What one run costs.

    `calls`: to GitHub's API.  `cpu_seconds`: user and system time, start-up included.  `commented_issues`: how many
    issues it commented on, which shows that the run did its work.
    """

    calls: int
    cpu_seconds: float
    commented_issues: int = 1


@dataclass
class _ShiftedClock:
    """A clock that runs `behind` real time."""

    behind: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) - self.behind


@dataclass
class RunnerHarness:
    """A repository on the sandbox GitHub and an Actions runner for it."""

    github: SandboxGitHub
    shop: Repository
    clock: _ShiftedClock
    folder: Path

    def open_issue(self, title: str, body: str) -> int:
        """Open an incident and return its issue number."""
        return self.github.person("jonas").opens(self.shop, title, body, ["incident"])

    def measure_run(self, name: str, event: str, payload: Mapping[str, Any]) -> RunCost:
        """Run `python -m app run NAME` in a process of its own and return what it cost."""
        position, before = self.github.call_log_position(), _children_cpu_seconds()
        _run_muster(name, self._prepare_environment(event, payload))
        calls, seconds = self.github.calls_since(position), _children_cpu_seconds() - before
        commented = {call.path for call in calls if call.method == "POST" and call.path.endswith("/comments")}
        return RunCost(len(calls), seconds, len(commented))

    def triage_in_process(self, number: int) -> None:
        """Triage an issue in this process, so that the clock may be in the past."""
        # Loopback is plain HTTP: an empty context saves loading the machine's certificates.
        transport = httpx.HTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        environment = self._prepare_environment("issues", self.opened_payload(number))
        code = runner.triage(runner.Workflow(environment, lambda _: None, self.clock, transport))
        assert code == 0, f"issue {number} was not looked after"

    def opened_payload(self, number: int) -> Mapping[str, Any]:
        """Return the payload of the `issues` event for that new issue."""
        return {"action": "opened", "issue": self.github.serializer.issue_in_full(self.shop.issue(number))}

    def _prepare_environment(self, event: str, payload: Mapping[str, Any]) -> dict[str, str]:
        """Write the event file and return the environment that Actions gives to a run."""
        repository = {"id": self.shop.id, "full_name": "octo/shop", "default_branch": "main"}
        (self.folder / "event.json").write_text(json.dumps({"repository": repository, **payload}))
        return {
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(self.folder / "event.json"),
            "GITHUB_REPOSITORY": "octo/shop",
            "GITHUB_API_URL": self.github.api_url,
            "GITHUB_TOKEN": self.github.issue_actions_token(self.shop, _TOKEN_PERMISSIONS),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "GITHUB_OUTPUT": str(self.folder / "output"),
        }


def measure_triage() -> RunCost:
    """Measure the triage of a new incident in several runs, each on its own issue.

    The most calls and the least processor time count.
    """
    with _open_harness() as harness:
        costs = []
        for number in range(_MEASURED_RUNS + 1):  # the first one compiles the bytecode, as an installation does
            issue = harness.open_issue(f"[Incident]: number {number}", _SEV1_BODY)
            costs.append(harness.measure_run("triage", "issues", harness.opened_payload(issue)))
        return RunCost(
            max(cost.calls for cost in costs), min(cost.cpu_seconds for cost in costs[1:]), costs[-1].commented_issues
        )


def measure_sweep() -> RunCost:
    """Measure a scheduled sweep over many open incidents that were triaged before."""
    with _open_harness() as harness:
        # The sev1 incidents are unacknowledged and their next page is due; the sev3 ones need nothing for an hour.
        for count, age, body in (
            (OPEN_INCIDENTS - DUE_INCIDENTS, timedelta(minutes=30), _SEV3_BODY),
            (DUE_INCIDENTS, timedelta(minutes=8), _SEV1_BODY),
        ):
            for number in range(count):
                harness.clock.behind = age
                issue = harness.open_issue(f"[Incident]: number {number}", body)
                # GitHub's times have whole seconds: a run's comments must be later than the issue they are on.
                harness.clock.behind = age - timedelta(seconds=2)
                harness.triage_in_process(issue)
        harness.clock.behind = timedelta()
        return harness.measure_run("sweep", "schedule", {"schedule": "*/5 * * * *"})


def import_seconds() -> float:
    """Return the processor seconds that a fresh Python takes to import the runner: the best of eight.

    The first one also compiles the bytecode, so it is never the best.
    """
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as bytecode_folder:
        return min(_load_seconds(bytecode_folder, "import app.runner") for _ in range(8))


def _load_seconds(bytecode_folder: str, code: str) -> float:
    before = _children_cpu_seconds()
    subprocess.run([sys.executable, "-c", code], check=True, env=_child_environment({}, bytecode_folder))
    return _children_cpu_seconds() - before


@contextmanager
def _open_harness() -> Iterator[RunnerHarness]:
    """Open a harness on a new sandbox GitHub, with a repository and its people."""
    clock = _ShiftedClock()
    with (
        tempfile.TemporaryDirectory(prefix="muster-bench-") as folder,
        SandboxGitHub(clock, limits=Limits(per_hour=10**9)) as github,
    ):
        github.hooks.hold()
        shop = github.add_repository("octo/shop", files={".github/incidents.yml": POLICY}, install=False)
        for login in ("mona", "kai", "ada", "grace"):
            github.add_person(login)
            shop.permit(login, "write")
        github.add_person("jonas")
        yield RunnerHarness(github, shop, clock, Path(folder))


def _run_muster(name: str, environment: Mapping[str, str]) -> None:
    bytecode_folder = str(Path(environment["GITHUB_EVENT_PATH"]).parent / "compiled")
    command = [sys.executable, "-m", "app", "run", name]
    subprocess.run(command, check=True, capture_output=True, env=_child_environment(environment, bytecode_folder))


def _child_environment(environment: Mapping[str, str], bytecode_folder: str) -> dict[str, str]:
    """Return a minimal environment for a child process, with a folder of its own for bytecode."""
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    return {**inherited, **environment} | ({"PYTHONPYCACHEPREFIX": bytecode_folder} if bytecode_folder else {})


def _children_cpu_seconds() -> float:
    """Return the processor time of ended child processes, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_runs(add_row: Callable[[str, str, str], None]) -> None:
    """Measure the runs and pass each figure to `add_row`: name, requirement, measurement."""
    add_row("import of the runner", "at most 0.7 s", f"{import_seconds():.2f} s of processor time")
    cost = measure_triage()
    add_row("run triage, a new incident: API calls", "at most 8", _format_calls(cost, 1))
    add_row(
        "run triage, a new incident: processor time, its start among it", "at most 2 s", f"{cost.cpu_seconds:.1f} s"
    )
    add_row(
        f"run sweep, {OPEN_INCIDENTS} open incidents, {DUE_INCIDENTS} due: API calls",
        "at most 60",
        _format_calls(measure_sweep(), DUE_INCIDENTS),
    )


def _format_calls(cost: RunCost, due: int) -> str:
    """Format the number of calls, and name a wrong number of commented issues."""
    return (
        str(cost.calls)
        if cost.commented_issues == due
        else f"{cost.calls}, but it wrote to {cost.commented_issues} of {due}"
    )


def main() -> None:
    """Print the figures of the runs beside the required ones."""
    measure_runs(lambda what, asked, measured: print(f"{what}: {measured} ({asked})"))


if __name__ == "__main__":
    main()
