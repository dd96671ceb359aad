"""Assemble the incident report: each answer becomes a value or a doubt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from app.core.incident_report import Exposure, IncidentReport, Kind, Level, Source
from app.core.policy import Policy
from app.core.severity import Severity
from app.github.intake.answers import MAX_READ_CHARS, HeadingAnswer, parse_answers
from app.github.intake.choices import begins_with_choice, has_word, is_unsure, parse_severity, severity_doubt
from app.github.intake.times import MAX_CLOCK_SKEW, NotATime, TimeParser
from app.github.intake.wording import DAY_FIRST_HEADINGS, EXPOSURES, KINDS, OTHER_WORDS, SEVERITIES, SOURCES
from app.text import make_visible, replace_unstorable

_SEVERITY_BY_LEVEL = {Level.HIGH: Severity.SEV2, Level.MEDIUM: Severity.SEV3, Level.LOW: Severity.SEV4}
"""The severity whose words also name that level."""
_MAX_ITEMS = 100  # names of services, or severities, that are read
_T = TypeVar("_T", Kind, Source)


def read_report(body: str, *, title: str, opened_at: datetime, policy: Policy) -> IncidentReport:
    """Read the body of a new issue into a report.

    `opened_at` is aware: words such as "just now" and the check for future times are relative to it.
    """
    body, title = replace_unstorable(body), _strip_title_prefix(replace_unstorable(title))
    reader = _ReportReader(parse_answers(body, policy), opened_at, policy)
    if not reader.answers:
        paragraph = next((part.strip() for part in body.replace("\r\n", "\n").split("\n\n") if part.strip()), "")
        return IncidentReport(summary=title or _first_line(paragraph), symptoms=body.strip(), structured=False)
    report = reader.read()
    return report if report.summary else replace(report, summary=title)


class _ReportReader:
    """Reads the answers of one body and collects the doubts."""

    def __init__(self, answers: dict[str, list[HeadingAnswer]], opened_at: datetime, policy: Policy) -> None:
        self.answers = answers
        self.opened_at = opened_at.astimezone(UTC)
        self.policy = policy
        self.doubts: list[str] = []

    def read(self) -> IncidentReport:
        severity = self.severity()
        impact = self.level("impact")
        affected = self.text("affected")
        if impact is None and len(self.text("impact")) > 0:
            affected = "\n\n".join(part for part in (affected, self.text("impact")) if part)
        return IncidentReport(
            summary=_first_line(self.text("summary")),
            severity=severity,
            impact=impact,
            urgency=self.level("urgency"),
            kind=self.by_keyword("type", "Type", KINDS),
            services=self.services(),
            source=self.by_keyword("detection", "Detection", SOURCES),
            started_at=self.time("started_at", "Started"),
            detected_at=self.time("detected_at", "Detected"),
            symptoms=self.text("symptoms"),
            affected=affected,
            revenue=self.text("revenue"),
            workaround=self.text("workaround"),
            personal_data=self.exposure(),
            doubts=tuple(self.doubts),
        )

    def text(self, name: str) -> str:
        return "\n\n".join(given.text for given in self.answers.get(name, []))

    def choice(self, name: str) -> str:
        given = self.answers.get(name) or []
        return given[0].choice if given else ""

    def severity(self) -> Severity | None:
        """Read the severity, or the priority where a form asks for that instead."""
        name = "severity" if self.answers.get("severity") else "priority"
        given = self.answers.get(name) or []
        title = name.capitalize()
        texts = list(dict.fromkeys(one.choice for one in given))[:_MAX_ITEMS]
        if len(texts) > 1 and len({parse_severity(text, self.policy) for text in texts}) > 1:
            shown = " and ".join(f"'{make_visible(text)}'" for text in texts[:3])
            self.doubts.append(f"{title} is answered more than once, with {shown}. Which one is right?")
            return None
        if not texts or is_unsure(texts[0]):
            return None
        severity = parse_severity(texts[0], self.policy)
        if severity is None:
            self.doubts.append(severity_doubt(title, texts[0], self.policy))
        return severity

    def level(self, name: str) -> Level | None:
        """Read high, medium or low.

        Many forms ask for the impact in free words: those are a description, not a doubt.
        """
        text = self.choice(name)
        if not text or is_unsure(text):
            return None
        for level, severity in _SEVERITY_BY_LEVEL.items():
            letter = level.value[0]
            if begins_with_choice(text, (*SEVERITIES[severity], letter)):
                return level
        if begins_with_choice(text, SEVERITIES[Severity.SEV1]):
            return Level.HIGH
        if name != "impact":
            self.doubts.append(f"{name.capitalize()}: '{make_visible(text)}' is not one of High, Medium or Low")
        return None

    def by_keyword(self, name: str, title: str, rows: Mapping[_T, list[str]]) -> _T | None:
        text = self.choice(name)
        if not text or is_unsure(text):
            return None
        lower = text.lower()
        for meaning in rows:
            if lower == meaning.value:
                return meaning
        for meaning, row in rows.items():
            if any(has_word(lower, word) for word in row):
                return meaning
        if not lower.startswith(OTHER_WORDS):
            known = ", ".join(meaning.value for meaning in rows)
            self.doubts.append(f"{title}: '{make_visible(text)}' is not one of {known}")
        return None

    def services(self) -> tuple[str, ...]:
        names: list[str] = []
        for given in self.answers.get("services", []):
            if isinstance(given.value, str) and not given.items:
                lines = (re.sub(r"^(?:[-*+]|[0-9]{1,3}[.)]) +", "", line.strip()) for line in given.text.split("\n"))
                names.extend(name for line in lines for name in re.split(r"[,;、，]", line))
            else:
                names.extend(given.items)
        stripped = dict.fromkeys(name.strip(" \t`*.") for name in names)
        kept = dict.fromkeys(name[:100] for name in [*stripped][:_MAX_ITEMS] if name and not is_unsure(name))
        return tuple(kept)[:50]

    def exposure(self) -> Exposure | None:
        text = self.choice("personal_data").lower()
        if not text:
            return None
        for meaning, row in EXPOSURES.items():
            if any(has_word(text, word) for word in row):
                return meaning
        if isinstance(self.answers["personal_data"][0].value, list) or self.answers["personal_data"][0].items:
            return Exposure.YES  # a ticked box
        self.doubts.append(f"Personal data: '{make_visible(text)}' is not one of No, Possibly or Yes")
        return None

    def time(self, name: str, title: str) -> datetime | None:
        given = self.answers.get(name) or []
        text = _first_line(given[0].text)[:MAX_READ_CHARS].strip() if given else ""
        if not text or is_unsure(text.strip(" .")):
            return None
        heading = given[0].heading.casefold().strip(" :?")
        try:
            at = TimeParser(self.opened_at, self.policy.zone, day_first=heading in DAY_FIRST_HEADINGS).parse(text)
        except NotATime as fault:
            self.doubts.append(f"{title}: '{make_visible(text)}' {fault}")
            return None
        if at > self.opened_at + MAX_CLOCK_SKEW:
            self.doubts.append(
                f"{title}: '{make_visible(text)}' is in the future ({at:%Y-%m-%d %H:%M} UTC). Is the time zone right?"
            )
            return None
        return at


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()), "")


def _strip_title_prefix(title: str) -> str:
    """Return the title without the form's prefix `[Incident]: `."""
    return re.sub(r"^\[[^\]\[]{1,40}\]:?\s*", "", title.strip()[:1000])
