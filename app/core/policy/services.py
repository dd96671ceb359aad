"""Services with their owners, runbooks and war rooms, and the overrides for some incidents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core.incident_report import Kind
from app.core.policy.clocks import Target
from app.core.policy.escalation import FirstNotice, Step
from app.core.severity import Severity


@dataclass(frozen=True, slots=True)
class Service:
    """Something that reports name as affected, under its own name or one of `aliases`, in any case.

    `owner` is a team; `on_call` a rotation that takes precedence over the team's. `runbooks` are names of the policy's
    runbooks.
    """

    owner: str | None = None
    on_call: str | None = None
    aliases: tuple[str, ...] = ()
    runbooks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Runbook:
    """What to do, linked on the board of incidents of these `kinds` (D9), and of the services that name it.

    `link` is an https address or a path in the repository.
    """

    link: str
    kinds: tuple[Kind, ...] = ()


@dataclass(frozen=True, slots=True)
class WarRoom:
    """Where responders meet (D3).

    `name` is the naming convention of the room, `link` an address; empty: only the name is shown. Both are plain `{{
    name }}` substitutions of `id`, `number`, `service` and `room`.
    """

    severities: frozenset[Severity] = frozenset()
    name: str = "{{ id }}-{{ service }}"
    link: str = ""


@dataclass(frozen=True, slots=True)
class Override:
    """What holds otherwise for some incidents: those of one of these `services`, and of one of these `kinds`.

    An empty condition matches every incident. `targets` change single clocks, by severity and the clock's name; None
    stops the clock. Escalation steps and first notices are replaced by severity, contacts by name. Of two that match,
    the later wins.
    """

    services: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    targets: Mapping[Severity, Mapping[str, Target | None]] = field(default_factory=dict)
    ladders: Mapping[Severity, tuple[Step, ...]] = field(default_factory=dict)
    first_notice: Mapping[Severity, FirstNotice] = field(default_factory=dict)
    contacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
