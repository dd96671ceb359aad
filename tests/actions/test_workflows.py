"""What holds for each of our actions and workflows, and an incident that our workflows handle from start to end."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.actions.conftest import (
    ACTIONS,
    COMMIT_PLACEHOLDER,
    COPIES,
    OWNER_PLACEHOLDER,
    ROOT,
    SHOP_ID,
    WORKFLOWS,
    Bench,
    CalledActions,
    RunnerBench,
)
from tests.actions.interpreter import load_yaml
from tests.runner.conftest import POLICY_PATH
from tests.runner.test_check_policy import FAULTY
from tests.shell.night import SEV1
from tools.run_steps import find_problems, load_scripts
from tools.workflows import release_version

MANIFESTS = [ROOT / "actions" / name / "action.yml" for name in ACTIONS]
ALL_WORKFLOWS = [*(ROOT / ".github" / "workflows").glob("*.yml"), *COPIES]
ACTIONS_PAGE = ROOT / "docs" / "actions" / "README.md"
INCIDENTS, POLICY, REPORT, SWEEP = (ROOT / ".github" / "workflows" / f"{name}.yml" for name in (
    "incidents", "incident-policy", "incident-report", "incident-sweep"
))  # fmt: skip
_PINNED_ACTION = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def relative_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def used_actions(path: Path) -> Iterator[str]:
    """Yield the value of each `uses:`, with its comment."""
    yield from re.findall(r"^\s+(?:- )?uses: (.+)$", path.read_text("utf-8"), re.MULTILINE)


# Tables.


def test_there_is_nothing_beside_the_five() -> None:
    assert {path.parent.name for path in (ROOT / "actions").glob("*/action.yml")} == set(ACTIONS)
    assert [path.name for path in COPIES] == [path.name for path in WORKFLOWS]


@pytest.mark.parametrize("path", MANIFESTS, ids=relative_path)
def test_an_action_says_what_it_takes_and_gives(path: Path) -> None:
    action = load_yaml(path)
    assert action["name"].startswith("Muster ")
    for name, one in [*action["inputs"].items(), *action["outputs"].items()]:
        assert one["description"].rstrip().endswith("."), name
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
    assert {one["value"] for one in action["outputs"].values()} == {
        f"${{{{ steps.run.outputs.{name} }}}}" for name in action["outputs"]
    }


@pytest.mark.parametrize("path", MANIFESTS, ids=relative_path)
def test_inputs_reach_the_shell_by_env_and_only_where_they_are_needed(path: Path) -> None:
    action = load_yaml(path)
    *before, last = action["runs"]["steps"]
    assert "inputs." not in json.dumps(before)
    assert last["run"] == f'bash "$GITHUB_ACTION_PATH/../run.sh" {path.parent.name}'
    input_values = {value for value in last["env"].values() if "inputs." in value}
    assert input_values == {f"${{{{ inputs.{name} }}}}" for name in action["inputs"]}


def test_the_steps_before_the_last_are_the_same_in_each_action() -> None:
    first, *others = [load_yaml(path)["runs"]["steps"][:-1] for path in MANIFESTS]
    assert all(one == first for one in others)


@pytest.mark.parametrize("path", [*MANIFESTS, *ALL_WORKFLOWS], ids=relative_path)
def test_each_uses_is_pinned_to_a_commit_with_its_version_beside_it(path: Path) -> None:
    ours = WORKFLOWS if path in WORKFLOWS else []
    for one in used_actions(path):
        assert _PINNED_ACTION.fullmatch(one) or (path in ours and one.removeprefix("$/actions/") in ACTIONS), one


def test_one_action_has_one_version_everywhere() -> None:
    found = {one for path in [*MANIFESTS, *ALL_WORKFLOWS] for one in used_actions(path) if not one.startswith("$/")}
    repositories = ["/".join(one.partition("@")[0].split("/")[:2]) + "@" + one.partition("@")[2] for one in found]
    names = [one.partition("@")[0] for one in set(repositories)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", ALL_WORKFLOWS, ids=relative_path)
def test_a_workflow_has_no_rights_and_a_job_says_its_own(path: Path) -> None:
    workflow = load_yaml(path)
    # The nightly run may take as long as GitHub lets a job run, six hours: no person waits for it.
    max_minutes = 360 if path.stem == "nightly" else 30
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["permissions"], name
        assert int(job["timeout-minutes"]) <= max_minutes, name
    assert workflow["concurrency"]["group"]


@pytest.mark.parametrize("path", [*WORKFLOWS, *COPIES], ids=relative_path)
def test_a_job_may_do_what_the_page_says_that_its_action_needs(path: Path) -> None:
    needed = documented_permissions()
    for job in load_yaml(path)["jobs"].values():
        (action,) = [re.split(r"[/@]", step["uses"].partition("actions/")[2])[0] for step in job["steps"]]
        assert job["permissions"] == needed[action], action


def documented_permissions() -> dict[str, dict[str, str]]:
    """Return the permissions that each action needs, by the table of the actions' page."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| ((?:`[a-z-]+: [a-z]+`(?:, )?)+) \|", ACTIONS_PAGE.read_text("utf-8"), re.MULTILINE
    )
    found = {name: dict(pair.split(": ") for pair in re.findall(r"`([^`]+)`", cell)) for name, cell in rows}
    assert set(found) == set(ACTIONS)
    return found


def test_the_command_of_the_page_fills_in_the_pins(tmp_path: Path) -> None:
    found = re.search(r"```sh\n(.*?)```", ACTIONS_PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    folder = tmp_path / "muster" / "docs"
    folder.mkdir(parents=True)
    (folder / "actions").symlink_to(ROOT / "docs" / "actions")
    (tmp_path / "yours").mkdir()
    commit = "5" * 40
    script = found[1].replace("acme/muster", "octo-org/muster").replace("$(git -C ../muster rev-parse HEAD)", commit)
    assert commit in script
    subprocess.run(["bash", "-euc", script], cwd=tmp_path / "yours", check=True, timeout=30)
    written = sorted((tmp_path / "yours" / ".github" / "workflows").iterdir())
    assert [path.name for path in written] == [path.name for path in COPIES]
    for path in written:
        text = path.read_text("utf-8")
        assert OWNER_PLACEHOLDER not in text.partition("\nname:")[2]
        assert COMMIT_PLACEHOLDER not in text
        assert all(
            one.startswith("octo-org/muster/actions/") and f"@{commit} # v{release_version()}" in one
            for one in used_actions(path)
        )


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("run: echo $NAME", "SC2086"),
        ("run: echo '${{ github.event.issue.title }}'", "an expression inside run"),
        ("{shell: fish, run: echo}", "nobody here checks a script for fish"),
        ("{shell: sh, run: '[[ a == b ]]'}", "SC3010"),
        ("run: |\n        echo fine\n        cd somewhere\n", None),
        ("{shell: python, run: print(1)}", None),
    ],
)
def test_each_run_goes_through_shellcheck(tmp_path: Path, step: str, says: str | None) -> None:
    path = tmp_path / "w.yml"
    path.write_text(f"jobs:\n  a:\n    steps:\n    - {step}\n")
    (script,) = load_scripts(path)
    assert script.line == 4
    found = list(find_problems(script))
    assert bool(found) == (says is not None)
    assert says is None or any(says in one for one in found)


# An incident handled by our workflows.

PULL_REQUEST_AS_ISSUE = {"number": 1, "pull_request": {"url": "x"}, "labels": []}
PULL_REQUEST_FROM_FORK = {"number": 9, "head": {"ref": "muster/postmortem-1", "repo": {"id": 1}}}


@pytest.mark.parametrize(
    ("workflow", "event", "payload", "results"),
    [
        (INCIDENTS, "issues", {"action": "opened", "issue": {"number": 1}}, {"triage": "success", "postmortem": "skipped"}),
        (INCIDENTS, "issues", {"action": "assigned", "issue": {"number": 1}}, {}),
        (INCIDENTS, "issue_comment", {"action": "created", "issue": PULL_REQUEST_AS_ISSUE}, {"triage": "skipped", "postmortem": "skipped"}),
        (INCIDENTS, "pull_request", {"action": "closed", "pull_request": PULL_REQUEST_FROM_FORK}, {"triage": "skipped", "postmortem": "skipped"}),
        (INCIDENTS, "workflow_dispatch", {"inputs": {"issue": "7"}}, {"triage": "success", "postmortem": "skipped"}),
        (SWEEP, "schedule", {"schedule": "7,22,37,52 * * * *"}, {"sweep": "success", "postmortem": "skipped"}),
        (SWEEP, "workflow_dispatch", {}, {"sweep": "success", "postmortem": "skipped"}),
        (POLICY, "pull_request", {"action": "opened", "pull_request": {"number": 3}}, {"check-policy": "success"}),
        (POLICY, "push", {"ref": "refs/heads/main"}, {"check-policy": "success"}),
        (REPORT, "schedule", {"schedule": "17 6 1 * *"}, {"report": "success"}),
        (REPORT, "workflow_dispatch", {"inputs": {"period": "year", "at": "2025-01-01"}}, {"report": "success"}),
    ],
)  # fmt: skip
def test_which_jobs_an_event_starts(
    bench: Bench, called: CalledActions, workflow: Path, event: str, payload: dict[str, Any], results: dict[str, str]
) -> None:
    context = {"head_ref": "muster/postmortem-1"} if event == "pull_request" else {}
    jobs = bench.run_workflow(workflow, event, payload, **context)
    assert {name: job.result for name, job in jobs.items()} == results
    given = dict(payload.get("inputs", {}))
    if workflow == REPORT:
        given = {"period": "month", "at": "", **given}
    for name in called.inputs:
        assert called.inputs[name] == ({"issue": "", **given} if workflow == INCIDENTS else given)
    assert set(called.inputs) == {name for name, result in results.items() if result == "success"}


def test_a_copy_does_the_same(bench: Bench, called: CalledActions) -> None:
    called.outputs["postmortem-due"] = "true"
    opened = {"action": "opened", "issue": {"number": 1}}
    jobs = bench.run_workflow(ROOT / "docs" / "actions" / INCIDENTS.name, "issues", opened)
    assert [job.result for job in jobs.values()] == ["success", "success"]
    assert list(called.inputs) == ["triage", "postmortem"]


def test_a_branch_of_our_own_starts_triage_and_what_is_due_starts_the_postmortem(
    bench: Bench, called: CalledActions
) -> None:
    called.outputs["postmortem-due"] = "true"
    pull = {"number": 9, "head": {"ref": "muster/postmortem-1", "repo": {"id": SHOP_ID}}}
    jobs = bench.run_workflow(
        INCIDENTS, "pull_request", {"action": "closed", "pull_request": pull}, head_ref="muster/postmortem-1"
    )
    assert {name: job.result for name, job in jobs.items()} == {"triage": "success", "postmortem": "success"}
    others = bench.run_workflow(
        INCIDENTS, "pull_request", {"action": "closed", "pull_request": pull}, head_ref="feature"
    )
    assert {job.result for job in others.values()} == {"skipped"}


@pytest.mark.parametrize(
    ("event", "payload", "group"),
    [
        ("issues", {"action": "labeled", "issue": {"number": 7}}, "muster-issue-7"),
        ("issues", {"action": "edited", "issue": {"number": 7}}, "muster-issue-7-edited"),
        ("issue_comment", {"action": "edited", "issue": {"number": 7}}, "muster-issue-7"),
        ("workflow_dispatch", {"inputs": {"issue": "7"}}, "muster-issue-7"),
        (
            "pull_request",
            {"action": "closed", "pull_request": {**PULL_REQUEST_FROM_FORK, "number": 7}},
            "muster-pull-7",
        ),
    ],
)
@pytest.mark.parametrize("branch", ["muster/postmortem-7", "7", "issue-7", "7-edited", "7}}"])
def test_one_run_an_issue_at_a_time(
    bench: Bench, called: CalledActions, event: str, payload: dict[str, Any], group: str, branch: str
) -> None:
    """FC-S16: the name of a branch does not matter; a fork's may be the number of an incident."""
    context = {"head_ref": branch} if event == "pull_request" else {}
    bench.run_workflow(INCIDENTS, event, payload, **context)
    assert bench.machine.github["concurrency"] == group


@pytest.mark.parametrize("branch", ["main", "7", "pull-7"])
def test_one_check_of_the_policy_a_pull_request(bench: Bench, called: CalledActions, branch: str) -> None:
    """FC-S16: as above."""
    payload = {"action": "opened", "pull_request": {**PULL_REQUEST_FROM_FORK, "number": 7}}
    bench.run_workflow(POLICY, "pull_request", payload, head_ref=branch, ref=f"refs/heads/{branch}", run_id="11")
    assert bench.machine.github["concurrency"] == "muster-policy-pull-7"
    bench.run_workflow(POLICY, "push", {"after": "a" * 40}, ref=f"refs/heads/{branch}", run_id="11")
    assert bench.machine.github["concurrency"] == "muster-policy-run-11"


def list_groups(path: Path) -> list[str]:
    """Return the concurrency groups of a workflow and of its jobs."""
    workflow = load_yaml(path)
    found = [one.get("concurrency") for one in (workflow, *workflow["jobs"].values())]
    return [one if isinstance(one, str) else one["group"] for one in found if one]


_TRUSTED_VALUES = re.compile(
    r"github\.(event_name|workflow|run_id|event\.action|event\.pull_request|event\.pull_request\.number"
    r"|event\.issue\.number)|inputs\.issue"
)
"""What GitHub itself chooses, and the input of a run by hand, which only people with write access start."""


@pytest.mark.parametrize("path", ALL_WORKFLOWS, ids=relative_path)
def test_no_stranger_chooses_the_name_of_a_group(path: Path) -> None:
    """FC-S16: a run that waits is dropped for the next one of its group, so a stranger may not join one."""
    for group in list_groups(path):
        for expression in re.findall(r"\$\{\{(.*?)\}\}", group, re.DOTALL):
            names = re.findall(r"[A-Za-z_][\w.-]*", re.sub(r"'[^']*'", "", expression))
            assert [name for name in names if not _TRUSTED_VALUES.fullmatch(name)] == [], group


def test_pages_and_examples_have_no_groups_beside_those() -> None:
    """FC-S16: what people copy is in the workflows that the test above reads."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "issue-templates").glob("*"), *MANIFESTS]
    assert [
        relative_path(page) for page in pages if re.search(r"^\s*concurrency:", page.read_text("utf-8"), re.MULTILINE)
    ] == []


def test_a_night_from_the_report_to_the_postmortem(runner_bench: RunnerBench) -> None:
    runner_bench.set_clock_to_real_time()
    shop, mona = runner_bench.runner.shop, runner_bench.runner.github.person("mona")
    number = mona.opens(shop, "Checkout is down", SEV1, ["incident"])
    runner_bench.runner.advance_clock(40)
    swept = runner_bench.run_workflow(SWEEP, "schedule", {"schedule": "7,22,37,52 * * * *"})["sweep"]
    assert swept.result == "success", swept.run_result.log
    assert f"/octo/shop/issues/{number}" in swept.run_result.summary
    assert len(board_bodies(runner_bench, number)) == 1, "found, though no event has started a run"
    mona.comments(shop, number, "/ack")
    mona.comments(shop, number, "/resolve the pool is larger now")
    mona.closes(shop, number)
    runner_bench.runner.advance_clock(0.2)
    jobs = runner_bench.run_workflow(INCIDENTS, "issues", {"action": "closed", **issue_payload(runner_bench, number)})
    assert {name: job.result for name, job in jobs.items()} == {"triage": "success", "postmortem": "success"}, (
        joined_logs(jobs)
    )
    assert "Checkout is down" in jobs["triage"].run_result.summary
    assert f"refs/heads/muster/postmortem-{number}" in shop.git.refs
    (board,) = board_bodies(runner_bench, number)
    (pull,) = shop.pulls
    assert f"/pull/{pull.number}" in board


def test_a_postmortem_that_was_refused_is_opened_by_a_sweep(runner_bench: RunnerBench) -> None:
    """FC-G7: the jobs stay green; once the box is ticked, the sweep's workflow opens it."""
    runner_bench.set_clock_to_real_time()
    shop, mona = runner_bench.runner.shop, runner_bench.runner.github.person("mona")
    shop.actions_may_open_pulls = False
    number = mona.opens(shop, "Checkout is down", SEV1, ["incident"])
    mona.comments(shop, number, "/ack\n/resolve the pool is larger now")
    mona.closes(shop, number)
    runner_bench.runner.advance_clock(0.2)
    jobs = runner_bench.run_workflow(INCIDENTS, "issues", {"action": "closed", **issue_payload(runner_bench, number)})
    assert {name: job.result for name, job in jobs.items()} == {"triage": "success", "postmortem": "success"}
    (warning,) = jobs["postmortem"].run_result.messages_of("warning")
    assert "Allow GitHub Actions to create and approve pull requests" in warning
    for opened in (False, True):
        shop.actions_may_open_pulls = opened
        runner_bench.runner.advance_clock(15)
        jobs = runner_bench.run_workflow(SWEEP, "schedule", {"schedule": "7,22,37,52 * * * *"})
        assert {name: job.result for name, job in jobs.items()} == {"sweep": "success", "postmortem": "success"}
        assert len(shop.pulls) == opened
    runner_bench.runner.advance_clock(15)
    jobs = runner_bench.run_workflow(SWEEP, "schedule", {"schedule": "7,22,37,52 * * * *"})
    assert {name: job.result for name, job in jobs.items()} == {"sweep": "success", "postmortem": "skipped"}


def test_a_policy_with_a_fault_fails_its_check(runner_bench: RunnerBench) -> None:
    (job,) = runner_bench.run_workflow(POLICY, "pull_request", runner_bench.runner.propose_policy(FAULTY)).values()
    assert job.result == "failure"
    errors = [one for one in job.run_result.annotations if one.kind == "error"]
    assert [(one.properties["file"], one.properties["line"], one.properties["title"]) for one in errors] == [
        (POLICY_PATH, "1", "extends"),
        (POLICY_PATH, "2", "timezone"),
    ]
    assert "**timezone**" in job.run_result.summary


def test_a_report_of_a_month(runner_bench: RunnerBench) -> None:
    runner_bench.runner.create_closed_incident()
    runner_bench.runner.create_closed_incident()
    inputs = {"inputs": {"period": "month", "at": "2026-03-20"}}
    (job,) = runner_bench.run_workflow(REPORT, "workflow_dispatch", inputs).values()
    assert job.result == "success", job.run_result.log
    assert "Checkout is down" in job.run_result.summary
    (written,) = runner_bench.machine.temp.glob("*.json")
    assert json.loads(written.read_text("utf-8"))


def test_a_right_too_few_is_said_and_leaves_nothing_half_done(runner_bench: RunnerBench, tmp_path: Path) -> None:
    runner_bench.set_clock_to_real_time()
    shop = runner_bench.runner.shop
    number = runner_bench.runner.github.person("mona").opens(shop, "Checkout is down", SEV1, ["incident"])
    fewer, text = tmp_path / "fewer.yml", INCIDENTS.read_text("utf-8")
    fewer.write_text(text.replace("issues: write # labels", "issues: read # labels"))
    jobs = runner_bench.run_workflow(fewer, "issues", {"action": "opened", **issue_payload(runner_bench, number)})
    assert {name: job.result for name, job in jobs.items()} == {"triage": "failure", "postmortem": "skipped"}
    (error,) = jobs["triage"].run_result.messages_of("error")
    assert "issues: write" in error
    issue = shop.issue(number)
    assert (issue.comments, list(issue.labels)) == ([], ["incident"])


def issue_payload(runner_bench: RunnerBench, number: int) -> dict[str, Any]:
    shown = runner_bench.runner.github.serializer.issue(runner_bench.runner.shop.issue(number))
    return {"issue": shown, "sender": shown["user"]}


def board_bodies(runner_bench: RunnerBench, number: int) -> list[str]:
    """Return the bodies of the issue's board comments; exactly one is right."""
    return [one.body for one in runner_bench.runner.shop.issue(number).comments if one.body.startswith("## ")]


def joined_logs(jobs: Mapping[str, Any]) -> str:
    return "\n".join(line for job in jobs.values() for line in job.done.log)
