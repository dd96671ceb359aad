"""The play: a bad night for a web shop, and a good one for those on call.

Everything goes the way it goes in production: signed deliveries to the webhook, workers on PostgreSQL, calls to
GitHub's API.  Only the clock is moved by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.demo.stage import Stage, stage
from app.github.intake import shipped_form
from app.sandbox.form_body import filled
from app.sandbox.world import Comment, Issue

START = datetime(2026, 3, 14, 2, 7, tzinfo=UTC)
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


_ADDED = {
    "Root cause": "The nightly stock export opened one database connection for each article and never gave one back. "
    "Since the winter catalogue there are more articles than connections.",
    "What went well": "Kai had a dashboard with the connections by job, and found the cause within seven minutes.",
}
"""What Ada writes into the postmortem, under which headings."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the story.  `who` empty: Muster did it."""

    at: datetime
    who: str
    text: str


@dataclass
class Played:
    """What was played, for those who want to look at it afterwards."""

    issue_url: str = ""
    pull_url: str = ""
    number: int = 0
    board: str = ""
    notices: list[str] = field(default_factory=list)
    postmortem: str = ""
    calls_to_board: int = 0
    calls: int = 0
    took: timedelta = timedelta()
    lines: list[Line] = field(default_factory=list)


@dataclass
class _Play:
    stage: Stage
    tell: Callable[[Line, Stage, int], None]
    played: Played
    seen: int = 0

    @property
    def issue(self) -> Issue:
        return self.stage.shop.issue(self.played.number)

    def says(self, who: str, text: str) -> None:
        line = Line(self.stage.clock(), who, text)
        self.played.lines.append(line)
        self.tell(line, self.stage, self.played.number)

    def minute(self, minutes: float) -> None:
        """Go on to that minute of the night, and tell what Muster does on the way."""
        until = START + timedelta(minutes=minutes)
        self.stage.goes_on(until)
        self.report()

    def report(self) -> None:
        """Tell what Muster has written since the last time."""
        ours = [comment for comment in self.issue.comments if comment.via_app]
        for comment in ours[self.seen :]:
            line = Line(comment.created_at, "", _headline(comment))
            self.played.lines.append(line)
            self.tell(line, self.stage, self.played.number)
        self.seen = len(ours)

    def labels(self) -> str:
        return "labels now: " + ", ".join(self.issue.labels)


def play(tell: Callable[[Line, Stage, int], None], then: Callable[[Stage, Played], None], *, refresh: int | None = None) -> Played:
    """Play it; `tell` hears every line as it happens, `then` has the stage before it is taken down."""
    files = {"README.md": "# shop\n", ".github/incidents.yml": POLICY}
    with stage(START - timedelta(minutes=10), name=REPOSITORY, files=files, refresh=refresh) as on:
        for login, name in (("mona", "Mona Lisa"), ("kai", "Kai Sato"), ("ada", "Ada Lovelace"), ("grace", "Grace Hopper")):
            on.github.add_person(login, name)
            on.shop.permit(login, "write")
        on.github.add_person("jonas", "Jonas from support")
        on.settles()
        on.clock.at = START
        played = Played()
        _acts(_Play(on, tell, played))
        played.took = on.clock() - START
        then(on, played)
        return played


def _acts(play: _Play) -> None:
    on, played, shop = play.stage, play.played, play.stage.shop
    jonas, kai, ada = (on.github.person(login) for login in ("jonas", "kai", "ada"))
    mark = on.github.mark()

    body = filled(shipped_form(), dict(_ANSWERS))
    played.number = jonas.opens(shop, "[Incident]: Checkout answers 502 to every customer", body, ["incident"])
    played.issue_url = f"{on.github.url}/{shop.full_name}/issues/{played.number}"
    play.says("jonas", "files the Incident Report: checkout answers 502 to every customer, SEV1")
    on.settles()
    played.calls_to_board = len(on.github.calls_since(mark))
    incident = on.incident(played.number)
    assert incident is not None
    play.says("", f"graded {incident.severity} as {incident.id}; {play.labels()}; the board is up ({played.calls_to_board} API calls)")
    play.report()

    play.minute(7)
    kai.comments(shop, played.number, "/ack")
    play.says("kai", "wakes up and writes /ack")
    on.settles()
    play.says("", f"the paging stops; {play.labels()}")

    play.minute(14)
    kai.comments(
        shop,
        played.number,
        "/status identified\n/update A job that ran wild holds every connection of the orders database. We stop it now.",
    )
    play.says("kai", "writes /status identified and an /update; the next one is promised within 15 minutes")
    on.settles()

    play.minute(20)
    ada.labels(shop, played.number, "sev2")
    play.says("ada", "sees orders coming in again and re-grades with the label sev2")
    on.settles()
    play.says("", f"deadlines follow from the original start; {play.labels()}")

    play.minute(26)
    kai.comments(shop, played.number, "/resolve The job is stopped and the pool has a limit of its own now.")
    play.says("kai", "writes /resolve")
    on.settles()
    play.says("", f"the clocks stand still; {play.labels()}")

    play.minute(29)
    ada.closes(shop, played.number)
    play.says("ada", "closes the issue")
    on.settles()
    pull = shop.pulls[-1]
    played.pull_url = f"{on.github.url}/{shop.full_name}/pull/{pull.number}"
    play.says("", f"opens the postmortem as pull request #{pull.number}; {play.labels()}")

    play.minute(46)
    path = f"docs/incidents/postmortems/2026/{incident.id}.md"
    branch = f"muster/postmortem-{played.number}"
    ada.pushes(shop, path, _filled_in(shop.file(path, ref=branch)), "Say why it happened", branch=branch)
    play.says("ada", "reads the postmortem and fills in what no record can know: the root cause, and what went well")
    on.settles()
    play.minute(48)
    ada.merges(shop, pull.number)
    play.says("ada", "merges it")
    on.settles()
    play.says("", f"the incident is complete; {play.labels()}")

    played.calls = len(on.github.calls_since(mark))
    played.board = next(comment.body for comment in play.issue.comments if comment.via_app and comment.body.startswith("## "))
    played.notices = [comment.body for comment in play.issue.comments if comment.via_app and not comment.body.startswith("## ")]
    played.postmortem = shop.file(f"docs/incidents/postmortems/2026/{incident.id}.md")


def _filled_in(text: str) -> str:
    """The postmortem with what a person adds to it."""
    for heading, words in _ADDED.items():
        before, found, after = text.partition(f"\n## {heading}\n")
        assert found, f"the postmortem has no section {heading}"
        text = f"{before}{found}\n{words}\n{after}"
    return text


def _headline(comment: Comment) -> str:
    first = next(line for line in comment.body.splitlines() if line.strip())
    if first.startswith("## "):
        return "posts the board, which is edited in place from now on"
    return "comments: " + first.replace("*", "").strip("# ")[:160]
