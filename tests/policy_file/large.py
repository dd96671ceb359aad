"""A policy file of nearly 64 KiB, as a company of thirty teams would write it."""

from __future__ import annotations

from collections.abc import Iterator

SIZE_BYTES = 64 * 1024
TEAM_COUNT = 30


def large_policy(size_bytes: int = SIZE_BYTES) -> str:
    """Return a valid policy file that uses the whole language, filled with services to just under `size_bytes`."""
    text = "\n".join(_header_lines()) + "\n"
    for n in range(10_000):
        more = "\n".join(_service_lines(n)) + "\n"
        if len(text) + len(more) > size_bytes:
            break
        text += more
    return text


def _header_lines() -> Iterator[str]:
    yield "extends: guide"
    yield "timezone: Europe/Berlin"
    yield "severities:"
    for n in range(1, 5):
        yield f"  sev{n}:"
        yield f"    respond: {{within: {5 * n}m, calendar: team}}"
        yield f"    resolve: {4 * n}h"
    yield "people:"
    for n in range(TEAM_COUNT * 6):
        yield f"  person-{n}:"
        yield f"    name: Person Number {n}"
        yield f"    mail: person-{n}@example.com"
    yield "contacts:"
    yield "  it-manager: [person-0, person-1]"
    yield "  cto: person-2"
    yield "calendars:"
    yield "  business: {days: mon-fri, hours: 08:30-17:30}"
    for n in range(TEAM_COUNT):
        yield f"  hours-{n}:"
        yield f"    hours: {7 + n % 4:02}:00-{15 + n % 4:02}:30"
        yield f"    days: {'mon-fri' if n % 3 else 'mon-sat'}"
        yield "    country: DE"
        yield "    region: BE"
        yield f"    holidays: [2026-12-24, 2026-12-31, 2027-01-{n % 28 + 1:02}]"
    yield "teams:"
    for n in range(TEAM_COUNT):
        yield f"  team-{n}:"
        yield f"    members: [{', '.join(f'person-{6 * n + m}' for m in range(6))}]"
        yield f"    calendar: hours-{n}"
        yield f"    on-call: rotation-{n}"
    yield "rotations:"
    for n in range(TEAM_COUNT):
        yield f"  rotation-{n}:"
        yield f"    people: [{', '.join(f'person-{6 * n + m}' for m in range(6))}]"
        yield "    turn: weekly"
        yield "    starts: 2026-01-05"
        yield "    hand-off: 09:00"
        yield "    overrides:"
        for m in range(6):
            yield f"      - {{from: 2026-{m + 5:02}-01 18:00, until: 2026-{m + 5:02}-03 09:00, person: person-{6 * n + m}}}"
    yield "roles:"
    for role in ("communications-lead", "scribe", "technical-lead"):
        yield f"  {role}: {{holder: [person-3, person-4], backup: person-5}}"
    yield "runbooks:"
    for n in range(TEAM_COUNT):
        yield f"  runbook-{n}: {{link: docs/runbooks/number-{n}.md, types: [service outage, integration failure]}}"
    yield "overrides:"
    for n in range(TEAM_COUNT):
        yield f"  - services: [service-{n}, service-{n + TEAM_COUNT}]"
        yield "    types: [service outage]"
        yield f"    severities: {{sev1: {{respond: {n % 9 + 1}m, update: 15m}}, sev2: {{resolve: off}}}}"
        yield "    escalation:"
        yield "      sev1:"
        yield "        - {after: 0m, to: owner, via: [pager, chat], until: ack, repeat: 5m}"
        yield f"        - {{after: 15m, to: [team-{n}, it-manager]}}"
        yield "        - {after: 1h, to: cto, do: call the customer}"
    yield "alerts:"
    yield "  response time: {above: 5 s, severity: sev2, type: performance degradation}"
    yield "services:"


def _service_lines(n: int) -> Iterator[str]:
    yield f"  service-{n}:"
    yield f"    owner: team-{n % TEAM_COUNT}"
    yield f"    aliases: [alias-{n}a, alias-{n}b]"
    yield f"    runbooks: [runbook-{n % TEAM_COUNT}, runbook-{(n + 7) % TEAM_COUNT}]"
