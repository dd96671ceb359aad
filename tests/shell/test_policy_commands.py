"""`muster policy`: what it prints, and its exit codes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.cli import policy as policy_commands
from app.cli.policy import PolicyCommandContext, event_log
from app.core.backtest import PastIncident
from app.core.events import Role
from app.core.replay import sort_log
from app.core.severity import Scale
from app.policy_file import PROFILES, load_profile
from app.ports import DeliveryFailed, PolicyFile, Tracker

from .test_commands_line import run_muster

NOW = datetime(2026, 4, 1, tzinfo=UTC)
POLICY = """\
extends: guide
timezone: Europe/Berlin
people: {mona: {name: Mona Lisa}}
contacts: {on-call: [mona, hubot], it-manager: [ada], cto: [grace]}
services: {checkout: {aliases: [shop]}}
"""
SIMULATE_ARGUMENTS = ("--sev", "sev1", "--at", "2026-03-06T16:40:00-05:00", "--for", "6h")


@dataclass
class CommandResult:
    code: int
    out: str
    err: str


@contextmanager
def unexpected_repository(name: str) -> Iterator[Tracker]:
    raise AssertionError(f"{name} was asked for on GitHub")
    yield


def run_policy_command(*words: str, repository: Any = unexpected_repository, now: datetime = NOW) -> CommandResult:
    out, err = io.StringIO(), io.StringIO()
    code = policy_commands.main(words, lambda: now, PolicyCommandContext(out, err, lambda: now, repository))
    return CommandResult(code, out.getvalue(), err.getvalue())


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "incidents.yml"
    path.write_text(POLICY)
    return str(path)


# check


def test_check_tells_every_fault(tmp_path: Path) -> None:
    path = tmp_path / "incidents.yml"
    path.write_text("extends: guide\nsilence: many\nwarnings: [0]\n")
    done = run_policy_command("check", str(path))
    assert done.code == 1
    assert [line.removeprefix(f"{path}:").split(": ")[0] for line in done.out.splitlines()] == ["2:10", "3:12"]
    found = json.loads(run_policy_command("check", str(path), "--json").out)
    assert [(fault["line"], fault["where"]) for fault in found] == [(2, "silence"), (3, "warnings[0]")]


def test_check_of_a_good_file_says_nothing(file: str) -> None:
    assert run_policy_command("check", file) == CommandResult(0, "", "")


def test_check_reads_the_file_of_the_organisation(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("extends: org\n")
    (tmp_path / "org.yml").write_text("extends: strict\n")
    assert run_policy_command("check", str(tmp_path / "own.yml"), "--org", str(tmp_path / "org.yml")) == CommandResult(
        0, "", ""
    )
    alone = run_policy_command("check", str(tmp_path / "own.yml"))
    assert (alone.code, "organisation" in alone.out) == (1, True)


# simulate


def test_simulate_as_json(file: str) -> None:
    done = run_policy_command("simulate", file, *SIMULATE_ARGUMENTS, "--ack", "12m", "--resolve", "3h", "--json")
    rows = json.loads(done.out)
    assert done.code == 0
    assert rows[0] | {"note": ""} == {
        "at": "2026-03-06T21:40:00Z",
        "offset_s": 0,
        "kind": "declared",
        "to": [],
        "step": "sev1",
        "via": [],
        "contacts": [],
        "missing": [],
        "note": "",
    }
    kinds = [(row["offset_s"], row["kind"], row["to"], row["step"]) for row in rows]
    assert (0, "page", ["mona"], "on-call") in kinds
    assert (720, "acknowledge", ["mona"], "acknowledge") in kinds
    assert (1800, "escalate", ["ada"], "it-manager after 30m") in kinds
    assert kinds[-1] == (10800, "resolve", ["mona"], "resolve")


def test_simulate_as_a_timetable_fits_a_terminal(file: str) -> None:
    done = run_policy_command("simulate", file, *SIMULATE_ARGUMENTS)
    assert done.code == 0
    assert "\033" not in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert done.out.startswith("sev1 on Fri 2026-03-06 22:40 CET (21:40 UTC), the next 6h\n")
    assert "mona (Mona Lisa)" in done.out
    assert "Missed: acknowledge at +5m, respond at +15m" in done.out


@pytest.mark.parametrize("profile", PROFILES)
def test_simulate_takes_the_name_of_a_profile(profile: str) -> None:
    name = "P0" if profile == "p-scale" else "sev1"
    rows = json.loads(run_policy_command("simulate", profile, "--sev", name, *SIMULATE_ARGUMENTS[2:], "--json").out)
    assert rows[0]["step"] == name
    assert {"page", "escalate"} & {row["kind"] for row in rows}


WRONG_SCENARIOS: list[tuple[Sequence[str], str]] = [
    (("--sev", "P1"), "--sev: 'P1' is not a severity of this policy: one of sev1, sev2, sev3, sev4"),
    (("--at", "2026-03-06T16:40:00"), "--at: '2026-03-06T16:40:00' has no zone: such as"),
    (("--at", "tomorrow"), "--at: 'tomorrow' is not a time: such as"),
    (("--at", "0001-01-01T00:00:00Z"), "--at: '0001-01-01T00:00:00Z' is too far away"),
    (("--at", "9999-12-31T23:59:59Z"), "--at: '9999-12-31T23:59:59Z' is too far away"),
    (("--for", "soon"), "--for: 'soon' is not a duration, such as 15m"),
    (("--for", "0m"), "--for: '0m' is out of range: from 1m to 14d"),
    (("--for", "15d"), "--for: '15d' is out of range: from 1m to 14d"),
    (("--for", "1bd"), "--for: '1bd' has no length of its own"),
    (("--ack", "1h", "--resolve", "1h"), "--ack: 1h is not before --resolve 1h"),
    (("--service", "chekout"), "--service: 'chekout' is no service of the policy: did you mean checkout?"),
    (("--type", "outage"), "--type: 'outage' is unknown: did you mean service outage?"),
    (("--personal-data", "perhaps"), "--personal-data: 'perhaps' is unknown: one of yes, possibly, no"),
    (("--sev", "sev\u202e1"), "--sev: 'sev\\u202e1' is not a severity"),
]


@pytest.mark.parametrize(
    ("words", "says"), WRONG_SCENARIOS, ids=[" ".join(map(ascii, words)) for words, _ in WRONG_SCENARIOS]
)
def test_a_wrong_scene_is_told_in_one_line(file: str, words: Sequence[str], says: str) -> None:
    done = run_policy_command("simulate", file, *SIMULATE_ARGUMENTS, *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"muster: {says}")
    assert done.err.count("\n") == 1


def test_the_scene_is_taken_as_it_is_written(file: str) -> None:
    more = ("--service", "SHOP", "--type", "Security breach", "--personal-data", "no")
    rows = json.loads(
        run_policy_command("simulate", file, "--sev", "sev3", *SIMULATE_ARGUMENTS[2:], *more, "--json").out
    )
    assert (rows[0]["step"], rows[0]["note"]) == ("sev1", "a security breach is at least sev1")


CALENDAR = """\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//example//on call//EN
BEGIN:VEVENT
UID:1@example.com
DTSTAMP:20260101T000000Z
DTSTART:20260306T090000Z
DTEND:20260307T000000Z
RRULE:FREQ=YEARLY
SUMMARY:On call: Ada Lovelace
END:VEVENT
END:VCALENDAR
"""
FEED_POLICY = """\
people: {ada: {name: Ada Lovelace}, mona: {}}
rotations: {on-call: {people: [mona], feed: docs/on-call.ics}}
"""


def test_a_calendar_in_the_repository_says_who_is_on_call(tmp_path: Path) -> None:
    (tmp_path / ".github").mkdir()
    (tmp_path / "docs").mkdir()
    file = tmp_path / ".github/incidents.yml"
    file.write_text(FEED_POLICY, "utf-8")

    def list_paged() -> list[list[str]]:
        return [
            row["to"]
            for row in json.loads(run_policy_command("simulate", str(file), *SIMULATE_ARGUMENTS, "--json").out)
        ][:2]

    assert list_paged()[1] == ["mona"], "by turns, until there is a calendar"
    (tmp_path / "docs/on-call.ics").write_text(CALENDAR, "utf-8")
    assert list_paged()[1] == ["ada"]
    (tmp_path / "docs/on-call.ics").write_text("nonsense", "utf-8")
    ended = run_policy_command("simulate", str(file), *SIMULATE_ARGUMENTS)
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "on-call.ics" in ended.err


def test_a_file_with_faults_is_not_simulated(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("silence: many\n")
    done = run_policy_command("simulate", str(tmp_path / "bad.yml"), *SIMULATE_ARGUMENTS)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"{tmp_path / 'bad.yml'}:1:10: silence: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run_policy_command("diff", str(tmp_path / "nowhere.yml"), "guide")
    assert done == CommandResult(1, "", f"muster: {tmp_path / 'nowhere.yml'}: No such file or directory\n")


# diff


def test_diff_by_severity(file: str, tmp_path: Path) -> None:
    (tmp_path / "new.yml").write_text(POLICY + "severities: {sev1: {respond: 10m}}\nsilence: 3\n")
    done = run_policy_command("diff", file, str(tmp_path / "new.yml"))
    assert done == CommandResult(0, "sev1\n  respond 15m -> 10m\nelsewhere\n  silence 2 -> 3\n", "")
    assert json.loads(run_policy_command("diff", file, str(tmp_path / "new.yml"), "--json").out) == [
        {"severity": "sev1", "what": "respond", "was": "15m", "now": "10m"},
        {"severity": None, "what": "silence", "was": "2", "now": "3"},
    ]


def test_diff_says_when_nothing_moves(file: str) -> None:
    assert run_policy_command("diff", file, file) == CommandResult(0, "Nothing moves: both mean the same.\n", "")


# explain and schema


def test_explain_as_a_table_and_as_json(file: str) -> None:
    done = run_policy_command("explain", file, "--sev", "sev1")
    rows = json.loads(run_policy_command("explain", file, "--sev", "sev1", "--json").out)
    assert done.code == 0
    assert len(done.out.splitlines()) == len(rows) > 10
    respond = next(row for row in rows if row["where"] == "severities.sev1.respond")
    assert respond == {"where": "severities.sev1.respond", "value": "15m", "origin": "profile guide", "document": "002"}
    line = next(line for line in done.out.splitlines() if line.startswith("severities.sev1.respond"))
    assert line.split() == ["severities.sev1.respond", "15m", "profile", "guide", "002"]
    assert not [row for row in rows if row["where"].startswith("severities.sev2")]


def test_explain_without_a_file_is_the_default_profile() -> None:
    assert json.loads(run_policy_command("explain", "--json").out) == json.loads(
        run_policy_command("explain", "guide", "--json").out
    )


def test_schema_is_json_schema() -> None:
    found = json.loads(run_policy_command("schema").out)
    assert {"severities", "escalation", "contacts"} <= found["properties"].keys()


# replay

EVENT_LOG = """\
{"incident": "octo/shop#12", "at": "2026-03-06T16:40:00Z", "event": "opened", "by": "ada", "severity": "sev2", "title": "Checkout is down"}
{"incident": "octo/shop#12", "at": "2026-03-06T16:52:00Z", "event": "said", "by": "mona", "text": "/ack"}
{"incident": "octo/shop#12", "at": "2026-03-06T17:45:00Z", "event": "said", "by": "mona", "text": "all well\\n/resolve it was the disk"}
{"incident": "octo/shop#12", "at": "2026-03-06T18:00:00Z", "event": "closed", "by": "mona"}

{"incident": "octo/shop#13", "at": "2026-03-07T09:00:00+01:00", "event": "opened", "severity": "sev4"}
"""
LATER_POLICY = POLICY + "escalation: {sev2: [{after: 0m, to: on-call, until: ack}, {after: 1h, to: it-manager}]}\n"


@pytest.fixture
def events(tmp_path: Path) -> str:
    path = tmp_path / "past.jsonl"
    path.write_text(EVENT_LOG)
    return str(path)


def test_replay_against_another_file(file: str, events: str, tmp_path: Path) -> None:
    (tmp_path / "later.yml").write_text(LATER_POLICY)
    done = run_policy_command("replay", str(tmp_path / "later.yml"), "--events", events, "--against", file)
    assert done.code == 0
    first, sentence, *_ = done.out.splitlines()
    assert first == f"{tmp_path / 'later.yml'} against {file}, incidents of {events}:"
    assert sentence == "1 of 2 past incidents would have been escalated later."
    assert "octo/shop#12  Checkout is down  (2026-03-06 16:40 UTC, sev2)" in done.out
    assert "  it-manager hears of it at +1h instead of +30m" in done.out
    found = json.loads(
        run_policy_command("replay", str(tmp_path / "later.yml"), "--events", events, "--against", file, "--json").out
    )
    assert (found["tried"], found["against"]) == (2, file)
    assert [each["incident"] for each in found["incidents"]] == ["octo/shop#12"]
    assert {"kind": "told", "what": "it-manager", "was": "+30m", "now": "+1h"} in found["incidents"][0]["differences"]


def test_replay_is_held_against_the_profile_it_extends(file: str, events: str) -> None:
    found = json.loads(run_policy_command("replay", file, "--events", events, "--json").out)
    assert found["against"] == "the profile guide, which it extends"
    assert {"kind": "people", "what": "it-manager", "was": "ada", "now": "ada"} not in found["incidents"][0][
        "differences"
    ]


def test_a_profile_is_held_against_the_default_one(events: str) -> None:
    found = json.loads(run_policy_command("replay", "strict", "--events", events, "--json").out)
    assert found["against"] == "the profile guide, the default"
    assert found["incidents"]


def test_faulty_events_are_told_by_their_lines(file: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"incident": "a", "at": "now", "event": "opened"}\n\nnonsense\n')
    done = run_policy_command("replay", file, "--events", str(tmp_path / "bad.jsonl"))
    assert (done.code, done.out) == (1, "")
    assert [line.removeprefix(str(tmp_path)).split(": ")[:2] for line in done.err.splitlines()] == [
        ["/bad.jsonl:1", "at"],
        ["/bad.jsonl:3", "not JSON (column 1)"],
    ]


@dataclass
class ShopTracker:
    """A repository as `past_incidents` reads it: one incident that mona acknowledged after half an hour."""

    text: str | None = POLICY

    def incidents_since(self, label: str, updated: datetime) -> list[dict[str, Any]]:
        assert (label, updated) == ("incident", datetime(2026, 1, 1, tzinfo=UTC))
        issue = {"number": 12, "title": "Checkout is down", "body": "### Severity\n\nSEV2", "user": {"login": "ada"}}
        return [
            {**issue, "created_at": "2026-03-06T16:40:00Z", "labels": [{"name": "incident"}], "html_url": "", "id": 1}
        ]

    def timeline(self, number: int) -> list[dict[str, Any]]:
        by = {"login": "mona"}
        return [
            {"event": "labeled", "label": {"name": "incident"}, "actor": {"login": "ada"}, "created_at": "2026-03-06T16:40:01Z", "id": 1},
            {"event": "commented", "body": "/ack", "user": by, "created_at": "2026-03-06T17:10:00Z", "id": 2, "html_url": ""},
            {"event": "closed", "actor": by, "created_at": "2026-03-06T18:40:00Z", "id": 3},
        ]  # fmt: skip

    def pull_of(self, branches: tuple[str, ...]) -> None:
        return None

    def permission(self, login: str) -> Role:
        return Role.WRITE

    def policy(self, etag: str) -> PolicyFile:
        return PolicyFile(self.text, "")

    def organisation_policy(self, etag: str) -> PolicyFile:
        return PolicyFile("extends: strict\n", "")


def repository_of(shop: object) -> Any:
    @contextmanager
    def repository(name: str) -> Iterator[Any]:
        assert name == "octo/shop"
        yield shop

    return repository


GITHUB_ARGUMENTS = ("--repo", "octo/shop", "--since", "90d")


def test_replay_of_a_repository_against_the_policy_in_force_there(tmp_path: Path) -> None:
    (tmp_path / "later.yml").write_text(LATER_POLICY)
    saved = tmp_path / "saved.jsonl"
    words = ("replay", str(tmp_path / "later.yml"), "--json")
    found = json.loads(
        run_policy_command(*words, *GITHUB_ARGUMENTS, "--save", str(saved), repository=repository_of(ShopTracker())).out
    )
    assert found["against"] == "the policy in force in octo/shop"
    assert found["incidents"][0]["incident"] == "octo/shop#12"
    assert {"kind": "told", "what": "it-manager", "was": "+30m", "now": "+1h"} in found["incidents"][0]["differences"]
    (tmp_path / "old.yml").write_text(POLICY)
    again = json.loads(run_policy_command(*words, "--events", str(saved), "--against", str(tmp_path / "old.yml")).out)
    assert again["incidents"] == found["incidents"]


@pytest.mark.parametrize("own", ["extends: org", None], ids=["extends org", "no file"])
def test_a_repository_that_stands_on_its_organisation(file: str, own: str | None) -> None:
    found = json.loads(
        run_policy_command("replay", file, *GITHUB_ARGUMENTS, "--json", repository=repository_of(ShopTracker(own))).out
    )
    recipients = {
        each["what"]: (each["was"], each["now"])
        for each in found["incidents"][0]["differences"]
        if each["kind"] == "told"
    }
    assert recipients["engineering-manager"] == (
        "+30m",
        None,
    )  # from the profile strict, which the organisation extends


def test_what_github_refuses_is_told_in_one_line(file: str) -> None:
    class RefusingTracker(ShopTracker):
        def policy(self, etag: str) -> PolicyFile:
            raise DeliveryFailed("GitHub says no", retry_after=None)

    done = run_policy_command("replay", file, *GITHUB_ARGUMENTS, repository=repository_of(RefusingTracker()))
    assert done == CommandResult(1, "", "muster: GitHub says no\n")


def test_the_past_is_counted_on_a_terminal_only(file: str, events: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    lines = "".join(
        json.dumps({"incident": f"octo/shop#{n}", "at": "2026-03-06T16:40:00Z", "event": "opened", "severity": "sev4"})
        + "\n"
        for n in range(25)
    )
    Path(events).write_text(lines)
    out, err = io.StringIO(), Terminal()
    code = policy_commands.main(
        ["replay", file, "--events", events],
        lambda: NOW,
        PolicyCommandContext(out, err, lambda: NOW, unexpected_repository),
    )
    assert code == 0
    assert "\r20 incidents tried" in err.getvalue()
    assert run_policy_command("replay", file, "--events", events).err == ""


# JSON Lines

FAULTY_LINES = [
    ("[1]", "not an object"),
    ('{"at": "2026-03-06T16:40:00Z", "event": "opened"}', 'incident: is missing: such as "octo/shop#12"'),
    ('{"incident": 12, "at": "2026-03-06T16:40:00Z", "event": "opened"}', "incident: '12' is not a text"),
    ('{"incident": "a", "event": "opened"}', "at: is missing"),
    ('{"incident": "a", "at": "2026-03-06T16:40:00", "event": "opened"}', "at: '2026-03-06T16:40:00' is not a time with its zone"),
    ('{"incident": "a", "at": "9999-12-31T23:59:59-14:00", "event": "opened"}', "at: '9999-12-31T23:59:59-14:00' is not a time"),
    ('{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "open"}', "event: 'open' is unknown: did you mean opened?"),
    ('{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "opened", "sverity": "sev1"}', 'sverity: not a key of "opened": did you mean severity?'),
    ('{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "closed", "label": "x"}', 'label: not a key of "closed"'),
    ('{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "opened", "severity": "P1"}', "severity: 'P1' is not a severity here: one of sev1, sev2"),
    ('{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "opened", "type": "outage"}', "type: 'outage' is unknown: did you mean service outage?"),
    ('{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "opened", "services": {"a": 1}}', "services: '{'a': 1}' is not a list of texts"),
    ('{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "opened", "role": "boss"}', "role: 'boss' is unknown: one of none, read"),
    ('{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "said"}', 'text: is missing: such as "/ack"'),
    ('{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "labeled", "label": ""}', "label: '' is not a text"),
    ('{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "closed"}', "a was never opened: begin with an event"),
    ("[" * 100_000, "not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "says"), FAULTY_LINES, ids=[says[:30] for _, says in FAULTY_LINES])
def test_a_faulty_line(line: str, says: str) -> None:
    with pytest.raises(event_log.EventLogFaults) as found:
        event_log.read_event_log([line], load_profile("guide"), "past.jsonl")
    (fault,) = found.value.faults
    assert fault.startswith(f"past.jsonl:1: {says}")
    assert "\n" not in fault


def test_an_incident_is_opened_once() -> None:
    opened = '{"incident": "a", "at": "2026-03-06T16:40:00Z", "event": "opened"}'
    with pytest.raises(event_log.EventLogFaults, match=r"past\.jsonl:2: event: opened once more"):
        event_log.read_event_log([opened, opened], load_profile("guide"), "past.jsonl")


def test_faults_are_told_up_to_a_number() -> None:
    with pytest.raises(event_log.EventLogFaults) as found:
        event_log.read_event_log(["nonsense"] * 1000, load_profile("guide"), "past.jsonl")
    assert len(found.value.faults) == event_log.MAX_FAULTS


def test_what_is_written_is_read_again() -> None:
    lines = [
        '{"incident": "octo/shop#1", "at": "2026-03-06T16:40:00Z", "event": "opened", "by": "ada", "role": "read", "title": "T", "severity": "sev2", "impact": "high", "urgency": "low", "type": "service outage", "services": ["a", "b"], "personal-data": "possibly", "started": "2026-03-06T16:30:00Z", "detected": "2026-03-06T16:35:00Z", "labels": ["sev2"]}',
        '{"incident": "octo/shop#1", "at": "2026-03-06T16:41:00Z", "event": "edited", "by": "ada", "severity": "sev1"}',
        '{"incident": "octo/shop#1", "at": "2026-03-06T16:42:00Z", "event": "said", "by": "mona", "text": "/ack\\n/update we look"}',
        '{"incident": "octo/shop#1", "at": "2026-03-06T16:43:00Z", "event": "labeled", "by": "mona", "label": "mitigated"}',
        '{"incident": "octo/shop#1", "at": "2026-03-06T16:44:00Z", "event": "unlabeled", "by": "mona", "label": "bug"}',
        '{"incident": "octo/shop#1", "at": "2026-03-06T16:45:00Z", "event": "locked", "by": "mona"}',
        '{"incident": "octo/shop#1", "at": "2026-03-06T16:46:00Z", "event": "unlocked", "by": "mona"}',
        '{"incident": "octo/shop#1", "at": "2026-03-06T16:47:00Z", "event": "closed", "by": "mona"}',
        '{"incident": "octo/shop#1", "at": "2026-03-06T16:48:00Z", "event": "reopened", "by": "mona"}',
        '{"incident": "octo/shop#1", "at": "2026-03-06T16:49:00Z", "event": "transferred", "by": "mona"}',
        '{"incident": "octo/shop#1", "at": "2026-03-08T16:49:00Z", "event": "until"}',
    ]
    for scale, profile in ((Scale.SEV, "guide"), (Scale.P, "p-scale")):
        first = event_log.read_event_log(lines, load_profile("guide"), "past.jsonl")
        again = event_log.read_event_log(event_log.write_event_log(first, scale), load_profile(profile), "again.jsonl")
        assert [to_comparable(past) for past in again] == [to_comparable(past) for past in first]
    assert first[0].until == datetime(2026, 3, 8, 16, 49, tzinfo=UTC)
    (edited,) = (event for _, event in first[0].log if type(event).__name__ == "Edited")
    assert (edited.report.severity, edited.report.services, edited.title) == (1, ("a", "b"), "T")  # type: ignore[attr-defined]


def to_comparable(past: PastIncident) -> tuple[object, ...]:
    """Return a past incident without the keys that only tell its lines apart."""
    return (
        past.name,
        past.title,
        past.until,
        [(at, repr(event).replace(event.key, "")) for at, event in sort_log(past.log)],
    )


# The command line itself.


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command, example in (
        ("check", "muster policy check .github/incidents.yml"),
        ("simulate", "--ack 12m --resolve 3h"),
        ("diff", "muster policy diff guide strict"),
        ("replay", '{"incident": "octo/shop#12"'),
    ):
        with pytest.raises(SystemExit) as ended:
            run_policy_command(command, "--help")
        assert ended.value.code == 0
        assert example in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [["policy"], ["policy", "nonsense"], ["policy", "simulate", "guide"], ["policy", "replay", "guide"], ["policy", "replay", "guide", "--events", "a", "--repo", "b"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(tmp_path: Path, words: list[str]) -> None:
    done = run_muster(*words, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: muster policy")
    assert "Traceback" not in done.stderr


def test_the_whole_way_from_the_shell(tmp_path: Path) -> None:
    done = run_muster("policy", "simulate", "guide", *SIMULATE_ARGUMENTS, "--json", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["at"] == "2026-03-06T21:40:00Z"


def test_a_repository_needs_credentials(tmp_path: Path) -> None:
    done = run_muster("policy", "replay", "guide", *GITHUB_ARGUMENTS, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("muster: GITHUB_APP_ID is not set")


def test_colour_on_a_terminal_only(file: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    policy_commands.main(
        ["diff", "guide", file],
        lambda: NOW,
        PolicyCommandContext(out, io.StringIO(), lambda: NOW, unexpected_repository),
    )
    assert ("\033[" in out.getvalue()) is ("NO_COLOR" not in os.environ)
