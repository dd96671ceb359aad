"""Reading reports: the shipped form, other forms by their wording, the older template, free text."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.incident_report import Exposure, IncidentReport, Kind, Level, Source
from app.core.policy import Intake, Policy
from app.core.severity import Scale, Severity
from app.core.severity_grading import grade
from app.github.intake import is_incident_report, read_report, shipped_form, shipped_form_text
from app.github.issue_form import FormValue, read_form
from app.policy_file import read_policy
from app.sandbox.github.form_body import fill_form

ROOT = Path(__file__).parents[2]
FORMS_FOLDER = Path(os.environ.get("MUSTER_SHARED_DATA", ROOT.parent / "shared" / "data")) / "issue-forms"
FORM_FILES = sorted(path for path in FORMS_FOLDER.glob("*.y*ml")) if FORMS_FOLDER.is_dir() else []
OPENED = datetime(2026, 3, 14, 9, 40, tzinfo=UTC)  # a Saturday
ALL_ANSWERS: dict[str, FormValue] = {
    "summary": "Checkout is down",
    "severity": "SEV1 — everything is down, data is lost or leaking, or there is a security breach",
    "impact": "High — all or most users, or a critical business function",
    "urgency": "Medium — today",
    "type": "Data privacy incident",
    "services": "checkout, `payments`",
    "detection": "Third-party notice",
    "started_at": "30 minutes ago",
    "detected_at": "2026-03-14 10:15 +01:00",
    "symptoms": "### Severity\n\nSEV4 — small, cosmetic, or a question\n\n### Summary",
    "affected": "2,000 customers",
    "revenue": "none",
    "workaround": "invoice",
    "personal_data": "Possibly",
}


def read_body(body: str, policy: Policy | None = None, title: str = "[Incident]: It broke") -> IncidentReport:
    return read_report(body, title=title, opened_at=OPENED, policy=policy or Policy())


def read_severity(value: str, scale: Scale = Scale.SEV, heading: str = "Severity") -> tuple[Severity | None, str]:
    read = read_body(f"### {heading}\n\n{value}\n\n### Other\n\nx", Policy(scale=scale))
    return read.severity, "; ".join(read.doubts)


def read_start(text: str, zone: str = "UTC") -> tuple[str | None, str]:
    read = read_body(f"### Started at\n\n{text}", Policy(zone=zone))
    return (f"{read.started_at:%Y-%m-%d %H:%M}" if read.started_at else None), "; ".join(read.doubts)


def test_the_shipped_form() -> None:
    assert read_body(fill_form(shipped_form(), ALL_ANSWERS)) == IncidentReport(
        summary="Checkout is down",
        severity=Severity.SEV1,
        impact=Level.HIGH,
        urgency=Level.MEDIUM,
        kind=Kind.PRIVACY,
        services=("checkout", "payments"),
        source=Source.THIRD_PARTY,
        started_at=OPENED - timedelta(minutes=30),
        detected_at=datetime(2026, 3, 14, 9, 15, tzinfo=UTC),
        symptoms="### Severity\n\nSEV4 — small, cosmetic, or a question\n\n### Summary",
        affected="2,000 customers",
        revenue="none",
        workaround="invoice",
        personal_data=Exposure.POSSIBLY,
    )


def test_the_shipped_form_is_the_one_people_copy() -> None:
    copied = (ROOT / "issue-templates" / "incident-report.yml").read_bytes()
    assert copied == (ROOT / "app" / "github" / "data" / "incident-report.yml").read_bytes()


def test_every_choice_of_the_shipped_form_is_understood() -> None:
    for number, field in enumerate(shipped_form().fields):
        for option in field.options:
            read = read_body(fill_form(shipped_form(), {shipped_form().keys()[number]: option}))
            assert read.doubts == (), option
            values = (read.severity, read.impact, read.urgency, read.kind, read.source, read.personal_data)
            assert sum(value is not None for value in values) == (option != "Not sure"), option


def test_an_empty_form_is_structured_and_takes_its_summary_from_the_title() -> None:
    assert read_body(fill_form(shipped_form(), {})) == IncidentReport(summary="It broke")


def test_the_older_template_has_the_same_headings() -> None:
    text = (ROOT / "issue-templates" / "incident_report.md").read_text("utf-8").split("---", 2)[2]
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == [field.label for field in shipped_form().fields]
    assert read_body(text) == IncidentReport(summary="It broke")
    written = text.replace("## Impact\n", "## Impact\n\nhigh\n").replace("## Severity\n", "## Severity\n\nsev2\n")
    assert (read_body(written).severity, read_body(written).impact) == (Severity.SEV2, Level.HIGH)


@pytest.mark.parametrize(
    ("title", "body", "summary"),
    [
        ("[Incident]: Checkout", "help\nus", "Checkout"),
        ("", "all is\ndown\n\nreally", "all is"),
        ("  ", "", ""),
        ("[Incident]: ", "### What to do\n\nx", "### What to do"),
    ],
)
def test_free_text_is_not_structured(title: str, body: str, summary: str) -> None:
    assert read_body(body, title=title) == IncidentReport(summary=summary, symptoms=body.strip(), structured=False)


SEV1, SEV2, SEV3, SEV4 = Severity


@pytest.mark.parametrize(
    ("value", "severity"),
    [
        ("SEV1", SEV1), ("sev1", SEV1), ("SEV-1", SEV1), ("Sev 2", SEV2), ("SEV1\r\n", SEV1), ("SEV1 — full outage", SEV1),
        ("SEV2: slow", SEV2), ("SEV-3 — Limited", SEV3), ("Critical", SEV1), ("high", SEV2), ("High - major", SEV2),
        ("Moderate", SEV3), ("Medium (some)", SEV3), ("Low", SEV4), ("Kritisch", SEV1), ("élevée", SEV2), ("Média", SEV3),
        ("高", SEV2), ("低", SEV4), ("Niski", SEV4), ("- [ ] SEV1\n- [x] SEV2", SEV2),
        ("Not sure", None), ("Not sure — you decide", None), ("Unknown", None), ("_No response_", None), ("None", None),
        ("不明", None), ("", None), ("<!-- SEV1 -->", None), ("- [ ] SEV1\n- [ ] SEV2", None),
    ],
)  # fmt: skip
def test_a_severity_that_is_understood(value: str, severity: Severity | None) -> None:
    assert read_severity(value) == (severity, "")


@pytest.mark.parametrize(
    "value",
    [
        "**SEV1**", "SEV1, SEV2", "sev01", "SEV1 SEV2", "SEV1 - SEV2", "SEV1 (or sev 2)", "SEV1-2", "SEV0", "SEV5", "1", "SEV1.",
        "🔴 SEV1", "`SEV1`", "Near-miss — nothing", "quite bad", "SEV1  — x", "\tSEV1", "SEV1\u00a0", "- [x] SEV1\n- [x] SEV2",
    ],
)  # fmt: skip
def test_a_severity_that_is_not_understood_is_a_doubt(value: str) -> None:
    severity, doubt = read_severity(value)
    assert severity is None
    assert doubt.startswith("Severity: '")
    assert doubt.endswith("' is not one of SEV1, SEV2, SEV3, SEV4 or Not sure")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\u0405EV1", r"\u0405EV1"), ("SEV1\u202e", r"SEV1\u202e"), ("sev1\u200b", r"sev1\u200b"), ("SEV1\ufe0f", r"SEV1\ufe0f"),
        ("sev1\u0301", r"sev1\u0301"), ("\uff33EV1", r"\uff33EV1"), ("\u017fev1", r"\u017fev1"), ("SEV1\x00", r"SEV1\ufffd"),
    ],
)  # fmt: skip
def test_look_alikes_are_no_severity_and_are_spelled_out(value: str, shown: str) -> None:
    severity, doubt = read_severity(value)
    assert severity is None
    if "\ufffd" not in value.replace("\x00", "\ufffd"):
        assert f"'{shown}'" in doubt


@pytest.mark.parametrize(
    ("value", "on_sev", "on_p"),
    [
        ("P1", None, SEV2), ("P0 (止血最優先)", None, SEV1), ("P1 (critical - full outage, data loss)", None, SEV2),
        ("p-3", None, SEV4), ("Priority 1", None, SEV2), ("P4 (low)", None, None), ("SEV-1", SEV1, SEV1), ("S1", SEV1, None),
    ],
)  # fmt: skip
def test_a_bare_p1_follows_the_active_scale(value: str, on_sev: Severity | None, on_p: Severity | None) -> None:
    assert read_severity(value)[0] == on_sev
    assert read_severity(value, Scale.P)[0] == on_p
    if on_sev is None:
        assert read_severity(value)[1]


def test_the_two_meanings_of_p1_are_explained() -> None:
    assert read_severity("P1")[1] == (
        "Severity: 'P1' is sev1 where levels begin with 1, sev2 where they begin with P0. "
        "Please choose one of SEV1, SEV2, SEV3, SEV4 or Not sure"
    )


TEAM_POLICY = Policy(
    aliases={
        SEV1: ("Critical", "Sehr Hoch", "S1 - all", "élevée"),
        SEV2: ("critical-ish", "P1", "major", "hoch"),
        SEV4: ("p", "low", "緊急でない"),
    }
)
CHOICES = (
    "SEV1 (Critical, Sehr Hoch, S1 - all), SEV2 (critical-ish, P1, major), SEV3, SEV4 (p, low, 緊急でない) or Not sure"
)


def read_team_severity(value: str, policy: Policy = TEAM_POLICY) -> tuple[Severity | None, str]:
    read = read_body(f"### Severity\n\n{value}", policy)
    return read.severity, "; ".join(read.doubts)


@pytest.mark.parametrize(
    ("value", "severity"),
    [
        ("critical", SEV1), ("CRITICAL", SEV1), ("Critical — everybody", SEV1), ("critical-ish: some", SEV2), ("Critical-Ish", SEV2),
        ("critical - ish", SEV1), ("sehr hoch", SEV1), ("Sehr Hoch (alle)", SEV1), ("S1 - all", SEV1), ("S1 - some", SEV1),
        ("élevée", SEV1), ("Élevée", SEV1), ("ÉLEVÉE", SEV1), ("P1", SEV2), ("p1 (all users)", SEV2), ("MAJOR", SEV2),
        ("hoch", SEV2), ("p", SEV4), ("Low", SEV4), ("緊急でない", SEV4), ("緊急でない（少数）", SEV4),
        ("SEV3", SEV3), ("medium", SEV3), ("SEV2 (P1)", SEV2),
    ],
)  # fmt: skip
def test_a_severity_by_a_name_of_the_team(value: str, severity: Severity) -> None:
    assert read_team_severity(value) == (severity, "")


@pytest.mark.parametrize(
    "value",
    [
        "criticality", "critical, really", "Majo\u0280", "ma\u0458or", "Сritical", "P12", "P1 - SEV1", "critical (P1)", "SEV3 - P1",
        "P1-2", "critical major",
    ],
)  # fmt: skip
def test_what_only_resembles_a_name_of_the_team_is_a_doubt(value: str) -> None:
    severity, doubt = read_team_severity(value)
    assert severity is None
    assert doubt.endswith(f"' is not one of {CHOICES}")


def test_a_bare_p2_is_unguessed_beside_an_alias_p1() -> None:
    severity, doubt = read_team_severity("P2")
    assert severity is None
    assert doubt == (
        "Severity: 'P2' is sev2 where levels begin with 1, sev3 where they begin with P0. "
        f"Please choose one of {CHOICES}"
    )
    assert read_team_severity("P1", Policy(aliases={SEV1: ("critical",)}))[0] is None
    on_p = Policy(scale=Scale.P, aliases={SEV1: ("P1",)})
    assert read_team_severity("P1", on_p) == (SEV1, ""), "a name that a team gives goes before its scale"
    assert read_team_severity("P2", on_p) == (SEV3, "")


def test_two_names_of_one_severity_are_one_answer() -> None:
    body = "### Severity\n\n{}\n\n### Severity\n\nCritical"
    assert read_body(body.format("SEV1"), TEAM_POLICY).severity is SEV1
    assert read_body(body.format("SEV2"), TEAM_POLICY).doubts == (
        "Severity is answered more than once, with 'SEV2' and 'Critical'. Which one is right?",
    )


def test_two_severities_are_a_question() -> None:
    body = "### What happened\n\n### Severity\n\nSEV1\n\n### Severity\n\nSEV4\n\n### What happened\n\nx"
    read = read_body(body)
    assert read.severity is None
    assert read.doubts == ("Severity is answered more than once, with 'SEV1' and 'SEV4'. Which one is right?",)
    assert read_body(body.replace("SEV4", "sev1")).severity == SEV1


def test_a_priority_counts_where_no_severity_is_asked_for() -> None:
    assert read_severity("High", heading="Priority") == (SEV2, "")
    assert read_body("### Priority\n\nLow\n\n### Severity\n\nCritical").severity == SEV1


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ("### Impact\n\nM", "impact", Level.MEDIUM),
        ("### Urgency\n\nHigh — now", "urgency", Level.HIGH),
        ("### 緊急度\n\n低", "urgency", Level.LOW),
        ("### Impact\n\nEU users get errors", "affected", "EU users get errors"),
        ("### Incident Type\n\nData Breach", "kind", Kind.SECURITY),
        ("### Incident Type\n\nOther", "kind", None),
        ("### Art\n\nDatenverlust", "kind", Kind.DATA_LOSS),
        ("### Detection\n\nGrafana alert", "source", Source.MONITORING),
        ("### Detection\n\na customer called", "source", Source.USER),
        ("### Affected products\n\n- [x] panel\n- [ ] balancer\n- [X] api", "services", ("panel", "api")),
        ("### Systems involved\n\n- api-content\n- RDS primary", "services", ("api-content", "RDS primary")),
        ("### 症状 (Symptom)\n\nダウン", "symptoms", "ダウン"),
        ("### Mitigation / Immediate Workaround\n\nrestart", "workaround", "restart"),
        ("### Symptoms\n\nsee\n\n**Loud**\n\nend", "symptoms", "see\n\n**Loud**\n\nend"),
        ("**Severity:** SEV2\n**Impact:** low", "severity", SEV2),
        ("- **Severity**: SEV2\n- **Impact**: low", "impact", Level.LOW),
        ("### Symptoms\n\nsee\n**Note:** this\n**Loud**\nend", "symptoms", "see\n**Note:** this\n**Loud**\nend"),
        (
            "### Volet RGPD\n\n- [x] Des données sont potentiellement concernées\n- [ ] DPO",
            "personal_data",
            Exposure.POSSIBLY,
        ),
        ("### Personal data\n\nNo", "personal_data", Exposure.NO),
        ("### Personal data\n\nyes, names", "personal_data", Exposure.YES),
    ],
)
def test_other_wordings(body: str, field: str, value: object) -> None:
    read = read_body(body)
    assert getattr(read, field) == value
    assert read.doubts == ()
    assert read.structured


def test_the_policy_may_name_any_heading() -> None:
    policy = Policy(intake=Intake(fields={"Wie schlimm?": "severity", "Severity": "symptoms", "Sorte": "kind"}))
    read = read_body("### WIE SCHLIMM?\n\nhoch\n\n### Severity\n\nit smokes\n\n### Sorte\n\nSecurity", policy)
    assert (read.severity, read.symptoms, read.kind) == (SEV2, "it smokes", Kind.SECURITY)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("just now", "2026-03-14 09:40"), ("30 minutes ago", "2026-03-14 09:10"), ("~2h ago", "2026-03-14 07:40"), ("2 hours ago", "2026-03-14 07:40"), ("02:10 (UTC+1)", "2026-03-14 01:10"),
        ("an hour ago", "2026-03-14 08:40"), ("half an hour ago", "2026-03-14 09:10"),
        ("1 hour and 20 minutes ago", "2026-03-14 08:20"), ("vor 30 Minuten", "2026-03-14 09:10"),
        ("il y a 2 heures", "2026-03-14 07:40"), ("hace 2 horas", "2026-03-14 07:40"), ("30分前", "2026-03-14 09:10"),
        ("09:20 today", "2026-03-14 09:20"), ("yesterday 14:00", "2026-03-13 14:00"), ("gestern 14:00 Uhr", "2026-03-13 14:00"),
        ("23:50", "2026-03-13 23:50"), ("Friday 14:05", "2026-03-13 14:05"), ("March 14 02:10", "2026-03-14 02:10"),
        ("2026-03-14 02:10 UTC", "2026-03-14 02:10"), ("2026-03-14T02:10:00+02:00", "2026-03-14 00:10"),
        ("2026-03-14 02:10 UTC+3", "2026-03-13 23:10"), ("14/03/2026 02:10 UTC−03:00", "2026-03-14 05:10"),
        ("2026-03-14 02:10 CET", "2026-03-14 01:10"), ("2026-03-14 02:10 (Europe/Berlin)", "2026-03-14 01:10"),
        ("14.03.2026 02:10", "2026-03-14 02:10"), ("12.03.2026 02:10", "2026-03-12 02:10"), ("13/03/2026 08:30", "2026-03-13 08:30"),
        ("14. März 2026 02:10 Uhr", "2026-03-14 02:10"), ("14 mars 2026 à 02h10", "2026-03-14 02:10"),
        ("14 de março de 2026 02:10", "2026-03-14 02:10"), ("2026年3月14日 02時10分", "2026-03-14 02:10"),
        ("2026-03-14 02:10 - 02:40 UTC", "2026-03-14 02:10"), ("about 2:10 am", "2026-03-14 02:10"),
        ("2026-03-14 09:44 UTC", "2026-03-14 09:44"),
    ],
)  # fmt: skip
def test_a_time(text: str, at: str) -> None:
    assert read_start(text) == (at, "")


@pytest.mark.parametrize(
    ("text", "zone", "at"),
    [
        ("11/03/2026 08:30", "Europe/Berlin", "2026-03-11 07:30"),
        ("03/11/2026 08:30", "America/New_York", "2026-03-11 12:30"),
        ("11/03/2026 08:30", "America/Sao_Paulo", "2026-03-11 11:30"),
        ("03/11/2026 08:30", "UTC", "2026-03-11 08:30"),
        ("2026-03-04 08:30", "Europe/Berlin", "2026-03-04 07:30"),
        ("2026-03-14 02:10 CST", "America/Chicago", "2026-03-14 08:10"),
        ("2026-03-14 02:10 CST", "Asia/Shanghai", "2026-03-13 18:10"),
        ("today 08:00", "Asia/Tokyo", "2026-03-13 23:00"),
        ("02:10", "No/Such", "2026-03-14 02:10"),
    ],
)
def test_a_time_in_the_zone_of_the_team(text: str, zone: str, at: str) -> None:
    assert read_start(text, zone) == (at, "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-03-14 12:00 UTC", "is in the future (2026-03-14 12:00 UTC)"), ("18:00", "is in the future"),
        ("09:50 today", "is in the future"), ("2026-03-14", "has no time of day"), ("2026-02-30 10:00", "is not a time I can read"),
        ("2016-12-31T23:59:60Z", "is not a time I can read"), ("9" * 40, "is not a time I can read"), ("this morning", "is not a time"),
        ("02:10 (Lima time)", "is not a time"), ("2026-03-14 02:10 XYZ", "is not a time I can read"), ("2026-03-14 02:10 Mars/Base", "names a time zone I do not know"),
        ("05/06/2026 08:30", "may mean two days"), ("1970-01-01T00:00:00Z", "more than ten years ago"),
        ("9999 hours ago", "longer ago than a year"),
    ],
)  # fmt: skip
def test_a_time_that_is_not_understood_is_a_doubt(text: str, why: str) -> None:
    at, doubt = read_start(text)
    assert at is None
    assert doubt.startswith("Started: '")
    assert why in doubt


@pytest.mark.parametrize("text", ["unknown", "TBD", "_No response_", "-", "Not sure"])
def test_no_time_is_no_doubt(text: str) -> None:
    assert read_start(text) == (None, "")


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=80) | st.text(alphabet="0123456789:/-.+ TZutcamphvorago前年月日", max_size=60),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
)
def test_no_text_breaks_the_reading(text: str, zone: str) -> None:
    heads = ("Started at", "Severity", "Impact", "Urgency", "Type", "Services", "Detection", "Personal data")
    read = read_body("\n\n".join(f"### {head}\n\n{text}" for head in heads), Policy(zone=zone), title=text)
    assert read.started_at is None or read.started_at <= OPENED + timedelta(minutes=5)
    assert all(len(doubt) < 400 for doubt in read.doubts)


@pytest.mark.skipif(not FORM_FILES, reason="the folder with real issue forms is not here")
def test_severities_of_real_forms() -> None:
    seen = {}
    for path in FORM_FILES:
        form = read_form(path.read_text("utf-8"))
        first = {
            key: (field.options[0] if field.kind == "dropdown" and not field.multiple else None)
            for key, field in zip(form.keys(), form.fields, strict=True)
        }
        read = read_body(fill_form(form, first))
        seen[path.name.split("__")[0]] = (read.structured, read.severity and str(read.severity))
    assert seen == {
        "AreaSong": (True, None),
        "GB-News-Ltd": (True, "sev1"),
        "Helix-Stax-Gitops": (True, None),
        "LCV-Ideas-Software": (True, None),
        "MBI-NETWORK": (True, None),
        "My5t3r10us": (True, None),
        "RetryYN": (True, None),
        "Vateron-Media": (True, "sev1"),
        "akn101": (True, None),
        "bijualappatt": (True, "sev4"),
        "microsoft": (True, None),
        "portefaix": (True, None),
        "singnet": (False, None),
        "tuna-os": (True, None),
    }


FORM_POLICIES = {
    "MBI-NETWORK__legisbox-status__incident.yml": """\
aliases:
  sev1: [Perte de données possible]
  sev2: [Service indisponible]
  sev3: [Dégradation partielle]
timezone: Europe/Paris
intake:
  fields: {Impact estimé: severity, heure de début (utc): started-at, Statut et mises à jour: workaround}
""",
    "Helix-Stax-Gitops__helix-stax-infrastructure__incident_report.yml": """\
aliases: {sev1: [P1], sev2: [P2], sev3: [P3], sev4: [P4]}
intake: {fields: {Timeline: symptoms, Root Cause: summary}}
""",
    "singnet__AISSAE__incident-report.yml": """\
aliases: {sev2: [Concerning], sev3: [Unexpected], sev4: [mildly odd]}
intake:
  fields:
    How would you characterise this?: severity
    What did the agent do?: summary
    Did it happen more than once?: affected
""",
    "GB-News-Ltd__.github__incident.yml": """\
aliases: {sev4: [near-miss]}
intake: {fields: {Systems involved: services, Audience / business impact: revenue, timeline: workaround}}
""",
}
"""By form file: the policy that a team writes so that its form is understood."""


@pytest.mark.parametrize("name", FORM_POLICIES)
@pytest.mark.skipif(not FORM_FILES, reason="the folder with real issue forms is not here")
def test_the_fields_of_a_real_form_in_its_own_words(name: str) -> None:
    form, policy = read_form((FORMS_FOLDER / name).read_text("utf-8")), read_policy(FORM_POLICIES[name])
    options = {key: field.options for key, field in zip(form.keys(), form.fields, strict=True)}
    graded_by, grades, answers, expected = EXPECTED_READINGS[name]
    assert [str(read_body(fill_form(form, {graded_by: one}), policy).severity) for one in options[graded_by]] == grades
    read = read_body(fill_form(form, answers), policy)
    assert {name: getattr(read, name) for name in expected} == expected
    assert read.doubts == ()
    assert read_body(fill_form(form, answers)) != read, "without the policy it is understood less"


EXPECTED_READINGS: dict[str, tuple[str, list[str], dict[str, FormValue], dict[str, object]]] = {
    "MBI-NETWORK__legisbox-status__incident.yml": (
        "impact",
        ["sev3", "sev2", "sev1"],
        {"service": "API LegisBox", "start_time": "2026-03-14 10:15", "status": "10:20 redémarrage"},
        {
            "services": ("API LegisBox",),
            "started_at": datetime(2026, 3, 14, 9, 15, tzinfo=UTC),
            "workaround": "10:20 redémarrage",
        },
    ),
    "Helix-Stax-Gitops__helix-stax-infrastructure__incident_report.yml": (
        "severity",
        ["sev1", "sev2", "sev3", "sev4"],
        {"timeline": "09:00 UTC — alert fired", "root_cause": "the disk is full"},
        {"symptoms": "09:00 UTC — alert fired", "summary": "the disk is full"},
    ),
    "singnet__AISSAE__incident-report.yml": (
        "concern-level",
        ["sev4", "sev3", "sev2", "None"],
        {"what-happened": "It wrote to everybody", "reproducible": "Sometimes", "concern-level": "Not sure"},
        {"summary": "It wrote to everybody", "affected": "Sometimes", "severity": None, "structured": True},
    ),
    "GB-News-Ltd__.github__incident.yml": (
        "sev",
        ["sev1", "sev2", "sev3", "sev4"],
        {"systems": "- api-content\n- Cloudflare", "impact": "Live page 5xx", "timeline": "rolled back"},
        {"services": ("api-content", "Cloudflare"), "revenue": "Live page 5xx", "workaround": "rolled back"},
    ),
}
"""By form file: the grading field, the severity of each of its options, sample answers, and the report they give."""


def test_severity_labels_of_the_team_grade() -> None:
    policy = read_policy("labels: {severities: [critical, major, minor, trivial]}\n")
    found = grade(IncidentReport(summary="x"), policy, frozenset({"minor", "sev1", "bug"}))
    assert (found.severity, found.uncertain) == (SEV3, False)
    assert found.reasons == ("the issue was opened with the label minor",)


def test_an_incident_report_is_known_by_its_headings() -> None:
    assert is_incident_report(fill_form(shipped_form(), {}))
    assert read_form(shipped_form_text()) == shipped_form()
    headings = [f"### {field.label}\n\nx" for field in shipped_form().fields]
    assert is_incident_report("\n\n".join(headings[3:8]))
    assert not is_incident_report("\n\n".join(headings[3:7]))
    assert not is_incident_report("```\n" + "\n\n".join(headings) + "\n```")


LABELS = [field.label for field in shipped_form().fields]
HOSTILE_PARTS = [
    "#\n", "# \n", "### \n", "-->\n", "__ \n", "**a**\n", "### x\n\n", "### (\n", "# a/\n", "### Severity\n\nSEV1\n\n", "### Summary\n\n```\n",
    "### Services affected\n\na, b\n\n", "<!-- -->", "- **Severity**: SEV1\n", "### " + "a/" * 50 + "\n",
    "".join(f"### {label}\n\n```\n```\n" for label in LABELS), "".join(f"### {label}\n\nx\n\n" for label in LABELS),
    "".join(f"# {number} gravité ({number}/{number})\n" for number in range(3000)),
    "### Services affected\n\n" + ",".join(f"- ({number})" for number in range(8000)),
    "".join(f"### Severity\n\n{number}\n\n" for number in range(3000)),
]  # fmt: skip


def measure_seconds(body: str) -> float:
    begun = time.process_time()
    read_body(body)
    is_incident_report(body)
    return time.process_time() - begun


@pytest.mark.parametrize("part", HOSTILE_PARTS)
def test_no_body_takes_long(part: str) -> None:
    body = (part * (65_536 // len(part) + 1))[:65_536]
    assert any(measure_seconds(body) < 0.25 for _ in range(3))  # on a quiet machine 0.06
