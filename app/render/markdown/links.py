"""Where to look and where to meet: the runbooks and the war room of an incident (D3, D9).

Names and addresses are the team's, but for the service, which a stranger may have named: it comes in as a slug only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from app.core.effective_policy import affected
from app.core.incident import Incident
from app.core.policy import Policy
from app.render.markdown.markup import Markdown, link, md, said
from app.text import cleaned

_LONGEST = 4096
"""No text with places to fill in becomes longer."""

_SLUG = 40
_PLACE = re.compile(r"([-_ ]?)\{\{ {0,3}([a-z]{1,20}) {0,3}\}\}")
_KEPT = "/:?#&=%+~@,{}"
"""What an address is written with; a brace that is left is a place nobody filled in, and makes it no address."""


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with each `{{ name }}` replaced; a name that is not in `values` stays as it stands.

    Where there is nothing to fill in, the dash before it goes too.
    """

    def value(found: re.Match[str]) -> str:
        given = values.get(found[2])
        if given is None:
            return found[0]
        return found[1] + given if given else ""

    return _PLACE.sub(value, text[:_LONGEST])[:_LONGEST]


def war_room(incident: Incident, policy: Policy) -> Markdown | None:
    """Where responders meet; None at a severity that has no room."""
    wanted = policy.war_room
    if incident.severity not in wanted.severities:
        return None
    service = next(iter((*affected(policy, incident.report), *incident.report.services)), "")
    values = {"id": incident.id.lower(), "number": str(incident.number), "service": _slug(service)}
    name = filled(wanted.name, values).strip("-_ ")
    places = {place: _encoded(value, "") for place, value in {**values, "room": name}.items()}
    address = filled(wanted.link, places)
    return _to(said(name, 100) if name else md("{}", incident.id), _address(address), address)


def runbooks(incident: Incident, policy: Policy) -> list[Markdown]:
    """Those of the affected services, then those for its type."""
    report = incident.report
    names = [name for service in affected(policy, report).values() for name in service.runbooks]
    names += [name for name, known in policy.runbooks.items() if report.kind and report.kind in known.kinds]
    found = [(name, policy.runbooks[name].link) for name in dict.fromkeys(names) if name in policy.runbooks]
    return [_to(said(name, 60), _address(at) or _file(at, incident), at) for name, at in found]


def _to(text: Markdown, url: str, written: str) -> Markdown:
    """The text as a link, or else with what is written in its place."""
    linked = link(text, url)
    return linked if linked != text or not written else md("{} ({})", text, said(written, 200))


def _address(text: str) -> str:
    """The text as an address, empty where it is none: people are sent to https only."""
    return _encoded(text, _KEPT) if text.startswith("https://") else ""


def _file(path: str, incident: Incident) -> str:
    """The address of a file on the default branch of the incident's repository, empty where there can be none."""
    repository, issue, _ = incident.url.rpartition("/issues/")
    name, _, heading = path.removeprefix("./").lstrip("/").partition("#")
    if not issue or not name or "://" in path or ".." in name.split("/"):
        return ""
    return f"{repository}/blob/HEAD/{_encoded(name, '/')}" + (f"#{_encoded(heading, '')}" if heading else "")


def _encoded(text: str, kept: str) -> str:
    return quote(cleaned(text), safe=kept)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()[:200]).strip("-")[:_SLUG].rstrip("-")
