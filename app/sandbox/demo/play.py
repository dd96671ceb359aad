"""The script of the demo: an outage of a web shop at night, handled by those on call.

Everything runs as in production: signed deliveries to the webhook, workers on PostgreSQL, calls to GitHub's API.
Only the clock is moved by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.github.intake import shipped_form
from app.sandbox.demo.stage import Stage, open_stage
from app.sandbox.github.form_body import fill_form
from app.sandbox.github.world import Comment, Issue
from app.worker.pipeline.policy_check import CHECK_NAME as CHECK

START = datetime(2026, 3, 14, 2, 7, tzinfo=UTC)
_TEAM = {"mona": "Mona Lisa", "kai": "Kai Sato", "ada": "Ada Lovelace", "grace": "Grace Hopper"}
_LABELS = {
    "incident": "b60205",
    "sev1": "d93f0b",
    "sev2": "e99695",
    "acknowledged": "1d76db",
    "resolved": "0e8a16",
    "postmortem-due": "fbca04",
}
"""The labels that the repository had before, with their colours."""
REPOSITORY = "octo/shop"
POLICY = """\
# How this team wants to be woken.  Everything that is not said here comes from the profile `guide`.
extends: guide
timezone: Europe/Berlin

people:
  mona:   {name: Mona Lisa}
  kai:    {name: Kai Sato}
  ada:    {name: Ada Lovelace}
  grace:  {name: Grace Hopper}

contacts:
  on-call: [mona, kai]        # the second one is asked when the first does not answer
  it-manager: ada
  cto: grace

escalation:
  sev1:
    - {after: 0m, to: on-call, until: ack, repeat: 5m}
    - {after: 5m, to: it-manager, until: resolved}
    - {after: 30m, to: cto, until: resolved}
"""
_PROPOSED_POLICY = POLICY.replace("after: 5m, to: it-manager", "after: 3m, to: it-manager").replace(
    "after: 30m, to: cto", "after: 20m, to: cto"
)
"""The policy that Mona proposes after the postmortem."""
_ANSWERS = {
    "summary": "Checkout answers 502 to every customer",
    "severity": "SEV1 — everything is down, data is lost or leaking, or there is a security breach",
    "impact": "High — all or most users, or a critical business function",
    "urgency": "High — now, it gets worse by the minute",
    "type": "Service outage",
    "services": "checkout, payments",
    "detection": "User report",
    "started_at": "2026-03-14 02:51 CET",
    "detected_at": "2026-03-14 03:04 CET",
    "symptoms": "- 502 from the gateway on every POST /orders since 02:51\n"
    "- the pool log of the orders database says: remaining connection slots are reserved",
    "affected": "Nobody can pay. About 400 carts an hour at this time of night.",
    "revenue": "About 9,000 EUR an hour",
    "workaround": "",
    "personal_data": "No",
}


_POSTMORTEM_SECTIONS = {
    "Root cause": "The nightly stock export opened one database connection for each article and never gave one back. "
    "Since the winter catalogue there are more articles than connections.",
    "What went well": "Kai had a dashboard with the connections by job, and found the cause within seven minutes.",
}
"""The sections that Ada adds to the postmortem, by heading."""


@dataclass(frozen=True, slots=True)
class StoryLine:
    """One line of the story; an empty `actor` means Muster."""

    at: datetime
    actor: str
    text: str


@dataclass
class DemoResult:
    """The result of the demo, for output and checks."""

    issue_url: str = ""
    pull_url: str = ""
    number: int = 0
    pull_number: int = 0
    incident_id: str = ""
    board: str = ""
    notices: list[str] = field(default_factory=list)
    postmortem: str = ""
    policy_url: str = ""
    check_title: str = ""
    check: str = ""
    calls_to_board: int = 0
    calls: int = 0
    duration: timedelta = timedelta()
    lines: list[StoryLine] = field(default_factory=list)


@dataclass
class _DemoRun:
    """The state of a running demo."""

    stage: Stage
    on_line: Callable[[StoryLine, Stage, int], None]
    result: DemoResult
    seen_comments: int = 0

    @property
    def issue(self) -> Issue:
        """The issue of the incident."""
        return self.stage.shop.issue(self.result.number)

    def add_line(self, actor: str, text: str) -> None:
        """Add a line to the story and report it."""
        line = StoryLine(self.stage.clock(), actor, text)
        self.result.lines.append(line)
        self.on_line(line, self.stage, self.result.number)

    def advance_to_minute(self, minutes: float) -> None:
        """Advance to that minute of the night and report what Muster does on the way."""
        until = START + timedelta(minutes=minutes)
        self.stage.advance_to(until)
        self.report_new_comments()

    def report_new_comments(self) -> None:
        """Report the comments that Muster has written since the last call."""
        ours = [comment for comment in self.issue.comments if comment.via_app]
        for comment in ours[self.seen_comments :]:
            line = StoryLine(comment.created_at, "", _headline(comment))
            self.result.lines.append(line)
            self.on_line(line, self.stage, self.result.number)
        self.seen_comments = len(ours)

    def label_text(self) -> str:
        """Describe the labels that the issue has now."""
        return "labels now: " + ", ".join(self.issue.labels)


def _ignore_line(line: StoryLine, stage: Stage, number: int) -> None:
    """Ignore a line."""


def _ignore_result(stage: Stage, result: DemoResult) -> None:
    """Ignore the result."""


def play(
    on_line: Callable[[StoryLine, Stage, int], None] = _ignore_line,
    on_end: Callable[[Stage, DemoResult], None] = _ignore_result,
    *,
    refresh: int | None = None,
) -> DemoResult:
    """Play the demo.

    `on_line` gets every line as it happens; `on_end` gets the stage before it is closed. `refresh` makes the pages of
    the sandbox GitHub reload themselves every so many seconds.
    """
    files = {"README.md": "# shop\n", ".github/incidents.yml": POLICY}
    with open_stage(
        START - timedelta(minutes=10), name=REPOSITORY, files=files, labels=_LABELS, refresh=refresh
    ) as demo_stage:
        for login, name in _TEAM.items():
            demo_stage.github.add_person(login, name)
            demo_stage.shop.permit(login, "write")
        demo_stage.github.add_person("jonas", "Jonas from support")
        demo_stage.settle()
        demo_stage.clock.at = START
        demo = _DemoRun(demo_stage, on_line, DemoResult())
        mark = demo_stage.github.call_log_position()
        for act in (_play_report, _play_response, _play_regrade, _play_resolution, _play_postmortem):
            act(demo)
        _collect_results(demo, mark)
        _play_policy_change(demo)
        on_end(demo_stage, demo.result)
        return demo.result


def _play_report(demo: _DemoRun) -> None:
    stage, result, shop = demo.stage, demo.result, demo.stage.shop
    mark = stage.github.call_log_position()
    body = fill_form(shipped_form(), dict(_ANSWERS))
    title = f"[Incident]: {_ANSWERS['summary']}"
    result.number = stage.github.person("jonas").opens(shop, title, body, ["incident"])
    result.issue_url = f"{stage.github.url}/{shop.full_name}/issues/{result.number}"
    demo.add_line("jonas", "files the Incident Report: checkout answers 502 to every customer, SEV1")
    stage.settle()
    result.calls_to_board = len(stage.github.calls_since(mark))
    incident = stage.incident(result.number)
    assert incident is not None
    result.incident_id = incident.id
    graded = f"graded {incident.severity} as {incident.id}; {demo.label_text()}"
    demo.add_line("", f"{graded}; the board is up ({result.calls_to_board} API calls)")
    demo.report_new_comments()


def _play_response(demo: _DemoRun) -> None:
    stage, shop, number = demo.stage, demo.stage.shop, demo.result.number
    kai = stage.github.person("kai")
    demo.advance_to_minute(7)
    kai.comments(shop, number, "/ack")
    demo.add_line("kai", "wakes up and writes /ack")
    stage.settle()
    demo.add_line("", f"the paging stops; {demo.label_text()}")
    demo.advance_to_minute(14)
    kai.comments(
        shop,
        number,
        "/status identified\n"
        "/update A job that ran wild holds every connection of the orders database. We stop it now.",
    )
    demo.add_line("kai", "writes /status identified and an /update; the next one is promised within 15 minutes")
    stage.settle()


def _play_regrade(demo: _DemoRun) -> None:
    demo.advance_to_minute(20)
    demo.stage.github.person("ada").labels(demo.stage.shop, demo.result.number, "sev2")
    demo.add_line("ada", "sees orders coming in again and re-grades with the label sev2")
    demo.stage.settle()
    demo.add_line("", f"deadlines follow from the original start; {demo.label_text()}")


def _play_resolution(demo: _DemoRun) -> None:
    stage, result, shop = demo.stage, demo.result, demo.stage.shop
    demo.advance_to_minute(26)
    stage.github.person("kai").comments(
        shop, result.number, "/resolve The job is stopped and the pool has a limit of its own now."
    )
    demo.add_line("kai", "writes /resolve")
    stage.settle()
    demo.add_line("", f"the clocks stand still; {demo.label_text()}")
    demo.advance_to_minute(29)
    stage.github.person("ada").closes(shop, result.number)
    demo.add_line("ada", "closes the issue")
    stage.settle()
    pull = shop.pulls[-1]
    result.pull_number = pull.number
    result.pull_url = f"{stage.github.url}/{shop.full_name}/pull/{pull.number}"
    demo.add_line("", f"opens the postmortem as pull request #{pull.number}; {demo.label_text()}")


def _play_postmortem(demo: _DemoRun) -> None:
    stage, result, shop = demo.stage, demo.result, demo.stage.shop
    ada = stage.github.person("ada")
    demo.advance_to_minute(46)
    path, branch = _postmortem_path(result), f"muster/postmortem-{result.number}"
    ada.pushes(shop, path, _fill_postmortem(shop.file(path, ref=branch)), "Say why it happened", branch=branch)
    demo.add_line("ada", "fills in what no record can know: the root cause, and what went well")
    stage.settle()
    demo.advance_to_minute(48)
    ada.merges(shop, result.pull_number)
    demo.add_line("ada", "merges the postmortem")
    stage.settle()
    demo.add_line("", f"the incident is complete; {demo.label_text()}")


def _collect_results(demo: _DemoRun, mark: int) -> None:
    """Collect what the incident leaves behind: board, notices, postmortem and number of calls."""
    result, ours = demo.result, [comment.body for comment in demo.issue.comments if comment.via_app]
    result.calls = len(demo.stage.github.calls_since(mark))
    result.board = next(body for body in ours if body.startswith("## "))
    result.notices = [body for body in ours if not body.startswith("## ")]
    result.postmortem = demo.stage.shop.file(_postmortem_path(result))
    result.duration = demo.stage.clock() - START


def _play_policy_change(demo: _DemoRun) -> None:
    """Propose a policy change; its check says what it would have changed for this incident."""
    stage, result, shop = demo.stage, demo.result, demo.stage.shop
    mona = stage.github.person("mona")
    demo.advance_to_minute(53)
    path, branch = ".github/incidents.yml", "hear-earlier"
    mona.pushes(shop, path, _PROPOSED_POLICY, "The IT manager and the CTO hear earlier", branch=branch)
    number = mona.opens_pull(shop, branch, "The IT manager and the CTO hear earlier", f"Learned in #{result.number}.")
    result.policy_url = f"{stage.github.url}/{shop.full_name}/pull/{number}"
    demo.add_line("mona", f"opens pull request #{number}: for a sev1 the IT manager and the CTO should hear earlier")
    stage.settle()
    (check_run,) = (run for run in shop.check_runs.values() if run.name == CHECK)
    result.check_title, result.check = str(check_run.output["title"]), str(check_run.output["summary"])
    demo.add_line("", f"checks the pull request ({check_run.conclusion}): {result.check_title}")


def _postmortem_path(result: DemoResult) -> str:
    return f"docs/incidents/postmortems/{START:%Y}/{result.incident_id}.md"


def _fill_postmortem(text: str) -> str:
    """Return the postmortem with the sections that a person adds to it."""
    for heading, content in _POSTMORTEM_SECTIONS.items():
        before, found, after = text.partition(f"\n## {heading}\n")
        assert found, f"the postmortem has no section {heading}"
        text = f"{before}{found}\n{content}\n{after}"
    return text


def _headline(comment: Comment) -> str:
    first_line = next(line for line in comment.body.splitlines() if line.strip())
    if first_line.startswith("## "):
        return "posts the board, which is edited in place from now on"
    return "comments: " + first_line.replace("*", "").strip("# ")[:160]
