"""The cases from the field, what is right in each, and the tests that show it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tools.reliability.results import ROOT

CASES: Mapping[str, Mapping[str, str]] = {
    "GitHub says no, or nothing, for a moment": {
        "FC-G1": "an issue that is not found is looked for over an hour; its alarms go on, and it comes back when seen",
        "FC-G2": "a refused question about rights is unknown: asked again, and answered so after minutes",
        "FC-G3": "a vague refusal is tried again; only one that names our own text is final at once",
        "FC-G4": "a postmortem that GitHub refuses is told once with what would help, and tried again",
        "FC-G5": "access that is given back brings the alarms back at once",
        "FC-G6": "locking a conversation ends nothing; comments wait for the unlock",
        "FC-G7": "in Actions, a refused pull request names the box to tick, and the next sweep tries again",
        "FC-G8": "a report that was unanswered for a year is taken in at once and asked about once, by daylight",
    },
    "Figures": {
        "FC-M2": "a second report holds back neither its own page nor that of the first",
        "FC-M3": "pages, escalations and reminders have a budget of their own",
    },
    "Policies": {
        "FC-C1": "dates are bounded, and a failure of the rules loses no report",
        "FC-C16": "a policy cannot name any variable of the operator's",
    },
    "Attackers": {
        "FC-S1": "proposed policies are reviewed in a process of their own, and delay no report",
        "FC-S2": "answers to outsiders cost no escalation its place",
        "FC-S3": "channels and feeds are the operator's, each for the tenants that it names",
        "FC-S4": "what outsiders close and reopen notifies once a window",
        "FC-S5": "a confirmation pins: outsiders neither lower nor end what a responder holds",
        "FC-S6": "unconfirmed reports make no postmortems",
        "FC-S7": "without a secret, no right comes from a marker in Actions",
        "FC-S8": "in Actions our App is known by its id; any other bot's marker silences nothing",
        "FC-S9": "other users of the machine do not get into the embedded database",
        "FC-S10": "a captured body means nothing under another event or id",
        "FC-S11": "a repository is known by its id, whoever has its name",
        "FC-S12": "a delivery that names another installation changes nothing before GitHub says so",
        "FC-S13": "slow and unsigned requests neither close the door nor fill the disk",
        "FC-S14": "no password in any message; a `.env` that others may write is refused",
        "FC-S15": "in Actions a fork's policy costs ten calls at most",
        "FC-S16": "strangers choose no concurrency group",
        "FC-S17": "what was deleted on GitHub is erased after seven days, or at once by `muster forget`",
        "FC-S18": "metrics and reasons are on the admin port",
    },
    "Operators' first mistakes": {
        "FC-O1": "GitHub is asked at the start which App this is, and the reason of a failure is said",
        "FC-O2": "a missing or misspelled setting is named; it never serves the sandbox instead",
        "FC-O3": "a company's own certificates and proxy are honoured",
        "FC-O4": "databases, ports and folders that cannot be used: one line",
        "FC-O5": "`.env` is read by the rules that everybody knows",
        "FC-O6": "libraries are bounded, and the queue's schema is migrated with ours",
        "TS-06": "an empty variable counts as unset; one that hides another value of `.env` is told",
        "TS-10": "the App's key is read in every form in which it is handed over, or what it is instead is said",
        "TS-14": "a password with any characters works, or the line says how to write it",
        "TS-17": "a pooler in transaction mode is found at the first connection, and said in one line",
        "TS-19": "the queue's schema is migrated step by step beside older processes",
        "TS-20": "a data folder of another PostgreSQL is left alone, and the way out is said",
        "TS-22": "of two processes on one data folder the second waits, then says who holds it",
        "TS-30": "own certificates are added to the public ones; what is no certificate is said at the start",
        "TS-38": "an App that was installed anew is found under its new installation",
    },
}
"""What is right in each case, by group and id."""

_ID = re.compile(r"(?<![a-z])(?:fc[-_]?((?:[a-z]\d+_)*[a-z]\d+)|ts[-_]?(\d\d))(?![a-z\d])", re.IGNORECASE)
"""An id in a name or a docstring; `fc_s5_s6` are two."""


@dataclass(frozen=True, slots=True)
class CaseTest:
    """A test, by its file and name, and the cases that it shows."""

    file: str
    name: str
    cases: frozenset[str]


def find_case_tests() -> Iterator[CaseTest]:
    """Find the tests that name a case: in their name or docstring, or else in the docstring of their file."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        of_file = _find_ids(ast.get_docstring(tree) or "")
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                named = _find_ids(f"{node.name} {ast.get_docstring(node) or ''}") or of_file
                if named:
                    yield CaseTest(path.relative_to(ROOT).as_posix(), node.name, named)


def render_cases() -> Iterator[str]:
    """Render the tables of cases: a line each, with the tests folded."""
    tests = list(find_case_tests())
    yield (
        "\n## Cases from the field\n\nWhat people reported about tools like this one, what was tried on this one, and"
        " what attackers would try. Each stands for its kind. `make test` runs every test named here.\n"
    )
    for group, cases in CASES.items():
        shown = {case: [test for test in tests if case in test.cases] for case in cases}
        proven = {case: found for case, found in shown.items() if found}
        if not proven:
            continue
        yield f"\n### {group}\n\n| Case | What is right | Tests |\n|---|---|---|\n"
        yield from (f"| {case} | {cases[case]} | {len(found)} |\n" for case, found in proven.items())
        yield "\n<details><summary>The tests, by name</summary>\n\n"
        for case, found in proven.items():
            yield f"- **{case}**: {', '.join(f'`{test.name}`' for test in found)}\n"
        yield "\n</details>\n"


def _find_ids(text: str) -> frozenset[str]:
    found = (match.groups() for match in _ID.finditer(text))
    return frozenset(
        case
        for field_cases, trap in found
        for case in ([f"TS-{trap}"] if trap else [f"FC-{each.upper()}" for each in field_cases.split("_")])
    )
