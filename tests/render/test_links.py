"""Links for responders: war rooms by naming convention, runbooks by service and type (D3, D9, M21)."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from app.core.incident import Incident
from app.core.incident_report import Kind
from app.core.policy import Runbook, Service, WarRoom
from app.core.severity import Severity
from app.render import render_board, render_postmortem
from app.render.markdown.links import fill_placeholders, runbook_links, war_room_link

from .scenes import FOOTER, SHOP_POLICY, owned_scene, resolved_scene


def incident_of(*services: str) -> Incident:
    incident = owned_scene().state_at(0)[0]
    return replace(incident, report=replace(incident.report, services=services))


def room_link(name: str, link: str, *services: str) -> str | None:
    policy = replace(SHOP_POLICY, war_room=WarRoom(frozenset({Severity.SEV1}), name, link))
    return war_room_link(incident_of(*services), policy)


def runbook_link(link: str) -> str:
    policy = replace(SHOP_POLICY, services={}, runbooks={"database": Runbook(link, (Kind.OUTAGE,))})
    (found,) = runbook_links(owned_scene().state_at(0)[0], policy)
    return found


@pytest.mark.parametrize(
    ("name", "services", "shown"),
    [
        ("{{ id }}-{{ service }}", ("checkout",), "inc-2026-0314-001-checkout"),
        ("{{ id }}-{{ service }}", ("Shop", "checkout"), "inc-2026-0314-001-checkout"),
        ("{{ id }}-{{ service }}", ("mail", "checkout"), "inc-2026-0314-001-checkout"),
        ("{{ id }}-{{ service }}", ("Card Payments (EU)!",), "inc-2026-0314-001-card-payments-eu"),
        ("{{ id }}-{{ service }}", (), "inc-2026-0314-001"),
        ("{{ id }}-{{ service }}", ("支払い",), "inc-2026-0314-001"),
        ("{{ service }}-{{id}}", (), "inc-2026-0314-001"),
        ("inc-{{number}}", (), "inc-12"),
        ("war room", (), "war room"),
        ("{{ service }}", (), "INC-2026-0314-001"),
        ("{{ team }} {{ id }}", (), "{{ team }} inc-2026-0314-001"),
        ("x" * 120, (), "x" * 99 + "…"),
    ],
)
def test_a_room_is_named_by_convention(name: str, services: tuple[str, ...], shown: str) -> None:
    found = room_link(name, "", *services)
    assert found is not None
    assert found.replace("\u200b", "").replace("\\", "") == shown


@pytest.mark.parametrize(
    ("name", "link", "shown"),
    [
        ("{{ id }}", "https://meet.example/{{ room }}", "[inc-2026-0314-001](https://meet.example/inc-2026-0314-001)"),
        ("war room", "https://meet.example/{{ room }}?n={{ number }}", "[war room](https://meet.example/war%20room?n=12)"),
        ("a/../b?c", "https://meet.example/{{ room }}", "[a/../b?c](https://meet.example/a%2F..%2Fb%3Fc)"),
        ("war", "https://meet.example/{{ region }}/{{ room }}", "war ("),
        ("war", "http://meet.example/{{ room }}", "war ("),
        ("war", "javascript:alert(1)", "war ("),
        ("war", "https://github.com@evil.example/", "war ("),
    ],
)  # fmt: skip
def test_a_room_is_linked_where_its_address_is_one(name: str, link: str, shown: str) -> None:
    found = room_link(name, link, "checkout")
    assert found is not None
    assert found == shown or (shown.endswith("(") and found.startswith(shown) and "](" not in found)


def test_only_severities_with_a_room_show_one() -> None:
    scene = owned_scene().post_command(3, "hubot", "severity", "sev2 only a few")
    incident, now = scene.state_at(5)
    text = render_board(incident, scene.policy, now, comment_urls={}, footer=FOOTER)
    assert "War room" not in text
    assert "**Runbooks:** [database](" in text


HOSTILE_PLACEHOLDERS = (
    "{{ ''.__class__.__mro__ }}", "{% for a in range(99999) %}x{% endfor %}", "{{ lipsum(n=100000) }}",
    "{{ ('{0.__class__}'|attr('format'))(i) }}", "{% include '/etc/passwd' %}", "{0.__class__}", "{{", "}}", "{{ }}",
    "{{ room }}", "{{ ID }}", "{{  id", "{{ id }", "%(id)s", "${id}",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE_PLACEHOLDERS)
def test_a_place_that_nobody_knows_stays_as_it_is(text: str) -> None:
    assert fill_placeholders(text, {"id": "x", "service": ""}) == text


@pytest.mark.parametrize(
    "part", [*HOSTILE_PLACEHOLDERS, "{{ id }}", "-{{ service }}", "{{" + " " * 100, "-" * 50, "{{ id }}{{"]
)
def test_filling_in_is_quick_and_short(part: str) -> None:
    text = (part * (65_536 // len(part) + 1))[:65_536]
    begun = time.process_time()
    found = fill_placeholders(text, {"id": "y" * 200, "service": ""})
    assert len(found) <= 4096
    assert time.process_time() - begun < 0.5, "ten milliseconds at most; the machine may be slow"


REPOSITORY_URL = "https://github.com/octo/shop/blob/HEAD"


@pytest.mark.parametrize(
    ("link", "to"),
    [
        ("docs/runbooks/database.md", f"{REPOSITORY_URL}/docs/runbooks/database.md"),
        ("./docs/db.md", f"{REPOSITORY_URL}/docs/db.md"),
        ("/docs/db.md#Fail over", f"{REPOSITORY_URL}/docs/db.md#Fail%20over"),
        ("docs/Datenbank läuft nicht (neu).md", f"{REPOSITORY_URL}/docs/Datenbank%20l%C3%A4uft%20nicht%20%28neu%29.md"),
        ("javascript:alert(1)", f"{REPOSITORY_URL}/javascript%3Aalert%281%29"),
        ("//evil.example/x", f"{REPOSITORY_URL}/evil.example/x"),
        ("docs/%2e%2e/x", f"{REPOSITORY_URL}/docs/%252e%252e/x"),
        ("https://wiki.example/db", "https://wiki.example/db"),
        ("https://wiki.example/a b(c)?d=%20#e", "https://wiki.example/a%20b%28c%29?d=%20#e"),
        ("../../other/secrets", None),
        ("docs/../../x", None),
        ("http://wiki.example/db", None),
        ("ftp://wiki.example/db", None),
        ("https://bücher.example/db", None),
        ("https://a.example@b.example/db", None),
        ("https://", None),
        ("docs/" + "x" * 600, None),
        ("", None),
    ],
)
def test_a_runbook_is_linked_to_https_or_into_the_repository(link: str, to: str | None) -> None:
    found = runbook_link(link)
    if to is None:
        assert "](" not in found
        assert found.startswith("database")
    else:
        assert found == f"[database]({to})"


def test_runbooks_come_by_service_then_by_type_and_each_once() -> None:
    policy = replace(
        SHOP_POLICY,
        services={"checkout": Service(runbooks=("b", "both")), "mail": Service(runbooks=("c", "b"))},
        runbooks={
            "both": Runbook("both.md", (Kind.OUTAGE,)),
            "a": Runbook("a.md", (Kind.OUTAGE, Kind.SECURITY)),
            "b": Runbook("b.md"),
            "c": Runbook("c.md", (Kind.SECURITY,)),
            "d": Runbook("d.md"),
        },
    )

    def runbook_names(*services: str) -> list[str]:
        return [found[1 : found.index("]")] for found in runbook_links(incident_of(*services), policy)]

    assert runbook_names("checkout", "mail") == ["b", "both", "c", "a"]
    assert runbook_names("mail") == ["c", "b", "both", "a"]
    assert runbook_names("unknown") == ["both", "a"]
    untyped = incident_of()
    assert runbook_links(replace(untyped, report=replace(untyped.report, kind=None)), policy) == []


def test_the_postmortem_remembers_both() -> None:
    incident, now = resolved_scene().state_at(60)
    links = render_postmortem(incident, SHOP_POLICY, comment_urls={}, now=now).text.partition("## Links")[2]
    assert "- War room: [inc-2026-0314-001-checkout](https://meet.example/inc-2026-0314-001-checkout)\n" in links
    assert (
        f"- Runbooks: [database]({REPOSITORY_URL}/docs/runbooks/database.md), [card network](https://wiki.example/"
        in links
    )
