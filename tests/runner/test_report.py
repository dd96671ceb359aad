"""`muster run report`: reports the incidents closed in a period, from GitHub alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.runner import Workflow, report
from tests.runner.conftest import POLICY, POLICY_PATH, Run, Runner
from tests.shell.night import SEV1, Wire
from tests.shell.test_commands_line import ROOT

HOSTILE = "##[error]x ::error::y | <img src=x> @ada fixes #3\n::add-mask::z"
NO_REPORT = "so there is no report."


def run_report(runner: Runner, *, as_lines: bool = False, **overrides: str) -> Run:
    """Run the report once; `overrides` are further variables of its environment."""
    environment = runner.environment("schedule", {}) | {"RUNNER_TEMP": str(runner.folder)} | overrides
    for name in ("summary.md", "output"):
        (runner.folder / name).unlink(missing_ok=True)
    log: list[str] = []
    slept_seconds: list[float] = []
    wire, mark = runner.wire(), runner.github.call_log_position()
    try:
        code = report(Workflow(environment, log.append, runner.clock, wire, slept_seconds.append), as_lines=as_lines)
    finally:
        wire.end()
    runner.calls = len(runner.github.calls_since(mark))
    summary, output = runner.folder / "summary.md", runner.folder / "output"
    lines = output.read_text().splitlines() if output.exists() else []
    return Run(code, log, summary.read_text() if summary.exists() else "", dict(line.split("=", 1) for line in lines))


def read_figures(done: Run) -> Any:
    return json.loads(Path(done.outputs["json"]).read_text())


def move_to_next_week(runner: Runner) -> None:
    runner.clock.at = datetime(2026, 3, 17, 8, tzinfo=UTC)


def close_small_incident(runner: Runner, title: str = "A picture is missing") -> int:
    """Open a small incident and close it after an hour."""
    mona = runner.github.person("mona")
    number = mona.opens(runner.shop, title, "### Severity\n\nSEV3\n", ["incident"])
    runner.advance_clock(60)
    mona.closes(runner.shop, number)
    return number


def test_the_last_week_is_told_to_people_and_to_programs(runner: Runner) -> None:
    quick = runner.create_closed_incident(3)
    slow = runner.create_closed_incident(20)
    third = close_small_incident(runner)
    move_to_next_week(runner)
    done = run_report(runner)
    assert (done.code, done.outputs["incidents"]) == (0, "3")
    assert done.summary.startswith("## Incidents of the week 2026-W11\n\n**3 incidents were closed")
    assert "by the clocks of `Europe/Berlin`" in done.summary
    found = read_figures(done)
    assert f"{found['compliance']['percent']:g}" == done.outputs["compliance"]
    assert [row["number"] for row in found["list"]] == [slow, quick, third], "the worst first"
    assert found["times"]["to_acknowledge"] == {"incidents": 2, "median": 690, "p90": 1200, "mean": 690}
    clocks = {each["clock"]: (each["kept"], each["missed"]) for each in found["compliance"]["clocks"]}
    assert (clocks["acknowledge"], clocks["resolve"]) == ((1, 1), (3, 0))
    assert found["postmortems"]["overdue"] == 2, "nobody has written what two sev1 ask for"
    assert f"[{slow}]({runner.github.url}/octo/shop/issues/{slow})" in done.summary
    (line,) = done.log
    assert line.startswith("::notice title=Muster report::3 incidents were closed in the week 2026-W11; ")


def test_it_asks_as_little_as_tells_it(runner: Runner) -> None:
    runner.create_closed_incident(3)
    close_small_incident(runner)
    close_small_incident(runner)
    move_to_next_week(runner)
    run_report(runner)
    # The policy, the list, three timelines, the rights of mona, and the postmortem of the one that requires it, under
    # either name of its branch.
    assert runner.calls == 8


def test_only_what_was_closed_then_and_still_is_counts(runner: Runner) -> None:
    mona = runner.github.person("mona")
    before = close_small_incident(runner)
    runner.clock.at = datetime(2026, 3, 15, 22, 30, tzinfo=UTC)  # half past eleven on Sunday in Berlin
    late = close_small_incident(runner)
    runner.advance_clock(60)
    again = runner.create_closed_incident()
    mona.comments(runner.shop, before, "One more remark, later.")
    mona.reopens(runner.shop, again)
    move_to_next_week(runner)
    assert [row["number"] for row in read_figures(run_report(runner))["list"]] == [before]
    running = run_report(runner, MUSTER_AT="2026-03-17")
    assert [row["number"] for row in read_figures(running)["list"]] == [late]
    assert "The period is not over yet." in running.summary


def test_a_day_names_the_period(runner: Runner) -> None:
    close_small_incident(runner)
    runner.clock.at = datetime(2026, 5, 1, tzinfo=UTC)
    for kind, at, name, many in (
        ("week", "2026-03-10", "2026-W11", 1),
        ("MONTH", "2026-03-31", "2026-03", 1),
        ("quarter", "", "2026-Q1", 1),
        ("year", "2026-02-01", "2026", 1),
        ("month", "2026-02-28", "2026-02", 0),
    ):
        done = run_report(runner, MUSTER_PERIOD=kind, MUSTER_AT=at)
        assert (read_figures(done)["period"]["name"], done.outputs["incidents"]) == (name, f"{many}")
        assert Path(done.outputs["json"]).name == f"muster-report-{name}.json"


def test_a_period_without_incidents_is_no_fault(runner: Runner) -> None:
    done = run_report(runner)
    assert (done.code, done.outputs["incidents"], done.outputs["compliance"]) == (0, "0", "")
    assert "No incident was closed in the week 2026-W10" in done.summary
    assert "thank whoever was on call" in done.summary
    assert (read_figures(done)["compliance"]["percent"], read_figures(done)["list"]) == (None, [])


def test_a_repository_without_a_calendar_is_told_in_utc(runner: Runner) -> None:
    runner.github.person("ada").pushes(runner.shop, POLICY_PATH, None)
    done = run_report(runner)
    assert (done.code, read_figures(done)["period"]["zone"]) == (0, "UTC")
    assert "by the clocks of `UTC`" in done.summary


def test_the_label_and_the_names_of_the_policy_count(runner: Runner) -> None:
    policy = POLICY.replace("guide", "p-scale") + "labels: {incident: outage}\n"
    runner.github.person("ada").pushes(runner.shop, POLICY_PATH, policy)
    mona = runner.github.person("mona")
    number = mona.opens(runner.shop, "Checkout is down", "### Severity\n\nP0\n", ["outage"])
    other = mona.opens(runner.shop, "Not one", SEV1, ["incident"])
    for each in (number, other):
        mona.closes(runner.shop, each)
    move_to_next_week(runner)
    done = run_report(runner)
    assert [row["number"] for row in read_figures(done)["list"]] == [number]
    assert "| **P0** | 1 |" in done.summary


def test_the_postmortem_is_followed_to_its_merge(runner: Runner) -> None:
    ada, number = runner.github.person("ada"), runner.create_closed_incident()
    ada.pushes(runner.shop, "docs/incidents/x.md", "# why\n", branch=f"muster/postmortem-{number}")
    pull = ada.opens_pull(runner.shop, f"muster/postmortem-{number}", "Postmortem")
    (row,) = read_figures(run_report(runner, MUSTER_AT="2026-03-14"))["list"]
    assert row["postmortem"] == {"state": "due", "url": f"{runner.github.url}/octo/shop/pull/{pull}"}
    runner.advance_clock(60)
    ada.merges(runner.shop, pull)
    (row,) = read_figures(run_report(runner, MUSTER_AT="2026-03-14"))["list"]
    assert row["postmortem"]["state"] == "done"


def test_words_of_others_do_nothing_in_the_log_the_summary_and_the_file(runner: Runner) -> None:
    close_small_incident(runner, HOSTILE)
    move_to_next_week(runner)
    done = run_report(runner, as_lines=True)
    line, notice = done.log
    assert json.loads(line) == read_figures(done)
    assert read_figures(done)["list"][0]["title"] == HOSTILE
    assert not any(mark in line for mark in ("##[", "\n"))
    assert notice.startswith("::notice ")
    (row,) = [row for row in done.summary.splitlines() if "img" in row]
    assert "&lt;img" in row
    assert row.replace("\\|", "").count("|") == 8
    assert not any(live in row for live in ("@ada", "#3", "<img"))


def test_without_a_folder_the_figures_are_in_the_log(runner: Runner) -> None:
    done = run_report(runner, RUNNER_TEMP="", as_lines=True)
    assert json.loads(done.log[0])["period"]["name"] == "2026-W10"
    assert "json" not in done.outputs


def test_wrong_usage_costs_no_call(runner: Runner) -> None:
    for name, value, says in (
        ("MUSTER_PERIOD", "decade", "MUSTER_PERIOD: 'decade' is none of week, month, quarter, year."),
        ("MUSTER_PERIOD", "::x\n", "MUSTER_PERIOD: '::x' is none of"),
        ("MUSTER_AT", "yesterday", "MUSTER_AT: 'yesterday' is not a day, such as 2026-03-14."),
        ("MUSTER_AT", "2026-02-30", "MUSTER_AT: '2026-02-30' is not a day"),
    ):
        done = run_report(runner, **{name: value})
        assert (done.code, runner.calls, done.outputs) == (2, 0, {})
        (line,) = done.log
        assert says in line


def test_a_day_that_no_period_holds_is_wrong_usage_too(runner: Runner) -> None:
    done = run_report(runner, MUSTER_AT="9999-12-31")
    assert (done.code, done.summary) == (2, "")
    assert "9999-12-31 is not in a week that the calendar holds" in done.log[0]


def test_a_policy_with_a_fault_is_told_and_the_one_before_it_judges(runner: Runner) -> None:
    runner.create_closed_incident()
    runner.github.person("ada").pushes(runner.shop, POLICY_PATH, POLICY.replace("Europe/Berlin", "Atlantis"))
    move_to_next_week(runner)
    done = run_report(runner)
    assert (done.code, done.outputs["incidents"]) == (1, "1")
    first, second, _ = done.log
    assert "'Atlantis'" in first
    assert f"file={POLICY_PATH}" in first
    assert "Until that is mended, the version of commit" in second
    assert read_figures(done)["period"]["zone"] == "Europe/Berlin"


def test_the_organisation_s_file_holds_where_there_is_no_other_and_where_one_builds_on_it(runner: Runner) -> None:
    runner.github.add_repository(
        "octo/.github", files={POLICY_PATH: "extends: strict\ntimezone: Asia/Tokyo\n"}, install=False
    )
    everywhere = runner.github.token_for("ada")
    for own, policy in (("extends: org\n", "strict"), (None, "strict"), (POLICY, "guide")):
        runner.github.person("ada").pushes(runner.shop, POLICY_PATH, own)
        found = read_figures(run_report(runner, GITHUB_TOKEN=everywhere))
        assert (found["policy"], found["period"]["zone"]) == (
            policy,
            "Asia/Tokyo" if policy == "strict" else "Europe/Berlin",
        )


@pytest.mark.parametrize("without", [["pull_requests"], ["issues", "pull_requests"]], ids=", ".join)
def test_without_a_right_it_says_which_and_reports_nothing(runner: Runner, without: list[str]) -> None:
    runner.create_closed_incident()
    for name in without:
        del runner.rights[name]
    move_to_next_week(runner)
    done = run_report(runner)
    assert (done.code, done.outputs, done.summary) == (1, {}, "")
    assert NO_REPORT in done.log[-1]
    assert "contents: read, issues: read and pull-requests: read." in done.log[-1]


def test_without_a_token_it_says_so_at_once(runner: Runner) -> None:
    done = run_report(runner, GITHUB_TOKEN="")
    assert (done.code, len(done.log)) == (1, 1)
    assert "The step needs GITHUB_TOKEN" in done.log[0]


def test_github_that_stumbles_is_asked_again(runner: Runner) -> None:
    number = runner.create_closed_incident()
    move_to_next_week(runner)
    runner.github.faults.add("status", status=502, path=f"/issues/{number}/timeline", times=2)
    done = run_report(runner)
    assert (done.code, done.outputs["incidents"], len(done.log)) == (0, "1", 1)


def test_github_that_stays_away_ends_it_without_half_a_report(runner: Runner) -> None:
    runner.create_closed_incident()
    number = close_small_incident(runner)
    move_to_next_week(runner)
    runner.github.faults.add("status", status=502, path=f"/issues/{number}/timeline", times=9)
    done = run_report(runner)
    assert (done.code, done.outputs, done.summary) == (1, {}, "")
    assert f"Issue {number} could not be read, {NO_REPORT}" in done.log[-1]
    assert "Try again later." in done.log[-1]


class GarbledWire(Wire):
    """A transport that garbles timelines.

    The first issue's has a label event with an invalid date, the second's is not found, and the third's is empty.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if request.url.path.endswith("/issues/1/timeline"):
            return httpx.Response(200, json=[{"event": "labeled", "created_at": "yesterday"}])
        if request.url.path.endswith("/issues/2/timeline"):
            return httpx.Response(404, json={"message": "Not Found"})
        if request.url.path.endswith("/issues/3/timeline"):
            return httpx.Response(200, json=[])
        return answer


def test_what_nobody_can_read_is_told_and_in_no_figure(runner: Runner) -> None:
    for _ in range(4):
        close_small_incident(runner)
    move_to_next_week(runner)
    runner.wire = GarbledWire
    done = run_report(runner)
    assert (done.code, done.outputs["incidents"]) == (0, "4")
    assert [line.partition("::Issue ")[2].partition(" ")[0] for line in done.log[:-1]] == ["3", "2", "1"]
    assert all(line.startswith("::warning title=Muster report::") for line in done.log[:-1])
    assert read_figures(done)["incidents"] | {"by_type": 0, "by_severity": 0} == {
        "closed": 4,
        "measured": 1,
        "left_out": 0,
        "unread": [3, 2, 1],
        "reopened": 0,
        "by_type": 0,
        "by_severity": 0,
    }
    assert "3 issues could not be read and are in no figure: 3, 2, 1." in done.summary


class CrowdedWire(Wire):
    """A transport that repeats the first listed incident 203 times, each closed one second earlier."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if not request.url.path.endswith("/issues"):
            return answer
        (row,) = answer.json()
        closed = datetime.fromisoformat(row["closed_at"])
        sooner = [{**row, "closed_at": (closed - timedelta(seconds=each)).isoformat()} for each in range(203)]
        return httpx.Response(200, json=sooner)


def test_more_than_a_run_may_read_is_said(runner: Runner) -> None:
    close_small_incident(runner)
    move_to_next_week(runner)
    runner.wire = CrowdedWire
    done = run_report(runner)
    assert (done.code, done.outputs["incidents"]) == (0, "203")
    assert read_figures(done)["incidents"]["left_out"] == 3
    assert "203 incidents were closed: only the last 200 of them are read." in done.log[0]
    assert done.log[1:-1] == [f"{number} of 200 incidents read" for number in range(25, 201, 25)]
    assert "3 more were closed before them." in done.summary


def test_as_a_command(runner: Runner) -> None:
    close_small_incident(runner)
    move_to_next_week(runner)
    environment = runner.environment("workflow_dispatch", {}) | {"MUSTER_AT": "2026-03-14"}
    done = subprocess.run(
        [sys.executable, "-m", "app", "run", "report", "--json"],
        cwd=runner.folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    line, notice = done.stdout.splitlines()
    assert json.loads(line)["incidents"]["closed"] == 1
    assert notice.startswith("::notice title=Muster report::1 incident was closed in the week 2026-W11")


def json_shape(value: Any) -> Any:
    """Return the keys of a JSON value with the type names of what they hold; of a list, its first element."""
    if isinstance(value, dict):
        return {name: json_shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [json_shape(value[0])] if value else []
    return type(value).__name__


def test_the_shape_is_the_documented_one(runner: Runner) -> None:
    page = (ROOT / "docs" / "reports.md").read_text("utf-8")
    example = json.loads(page.partition("```json\n")[2].partition("```")[0])
    policy = POLICY + "audiences:\n  executives: {to: cto, first: {sev1: 10m}}\n"
    runner.github.person("ada").pushes(runner.shop, POLICY_PATH, policy)
    times = "\n### When did it start?\n\n2026-03-14 08:50 UTC\n\n### When was it detected?\n\n2026-03-14 08:55 UTC\n"
    mona = runner.github.person("mona")
    number = mona.opens(runner.shop, "Checkout is down", f"{SEV1}{times}", ["incident"])
    runner.advance_clock(8)
    mona.comments(runner.shop, number, "/ack")
    runner.advance_clock(30)
    mona.closes(runner.shop, number)
    move_to_next_week(runner)
    found = read_figures(run_report(runner))
    # Unknown times, and groupings that this team does not use, may differ in shape.
    for each in (example, found):
        each["times"]["to_mitigate"] = each["list"][0]["times"]["to_mitigate"] = None
        each["incidents"]["by_type"] = each["list"][0]["services"] = None
    assert json_shape(found) == json_shape(example)
