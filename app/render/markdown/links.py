"""Builds the links to the runbooks and the war room of an incident (D3, D9).

Names and addresses come from the team's policy.  Only the service may come from an untrusted report, so it is inserted
as a slug.
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

_MAX_CHARS = 4096
"""Maximum length of a text with placeholders, before and after they are filled in."""

_MAX_SLUG_CHARS = 40
_PLACEHOLDER_PATTERN = re.compile(r"([-_ ]?)\{\{ {0,3}([a-z]{1,20}) {0,3}\}\}")
_URL_CHARS = "/:?#&=%+~@,{}"
"""Characters that stay unencoded in an address.

They include braces: an unfilled placeholder keeps its own, so the text is no valid address.
"""


def filled(text: str, values: Mapping[str, str]) -> str:
    """Replace each `{{ name }}` in the text by its value; unknown names stay unchanged.

    Where the value is empty, the separator before the placeholder is removed too.
    """

    def value(found: re.Match[str]) -> str:
        given = values.get(found[2])
        if given is None:
            return found[0]
        return found[1] + given if given else ""

    return _PLACEHOLDER_PATTERN.sub(value, text[:_MAX_CHARS])[:_MAX_CHARS]


def war_room(incident: Incident, policy: Policy) -> Markdown | None:
    """Build the link to the war room; None: incidents of this severity have none."""
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
    """Build the links to the runbooks of the affected services, then to those of the incident's type."""
    report = incident.report
    names = [name for service in affected(policy, report).values() for name in service.runbooks]
    names += [name for name, known in policy.runbooks.items() if report.kind and report.kind in known.kinds]
    found = [(name, policy.runbooks[name].link) for name in dict.fromkeys(names) if name in policy.runbooks]
    return [_to(said(name, 60), _address(at) or _file(at, incident), at) for name, at in found]


def _to(text: Markdown, url: str, written: str) -> Markdown:
    """Link the text, or show the original address beside it where that cannot be linked."""
    linked = link(text, url)
    return linked if linked != text or not written else md("{} ({})", text, said(written, 200))


def _address(text: str) -> str:
    """Encode the text as an https address; empty where it is none, since only https is linked."""
    return _encoded(text, _URL_CHARS) if text.startswith("https://") else ""


def _file(path: str, incident: Incident) -> str:
    """Build the URL of a file on the default branch of the incident's repository; empty where that is impossible."""
    repository, issue, _ = incident.url.rpartition("/issues/")
    name, _, heading = path.removeprefix("./").lstrip("/").partition("#")
    if not issue or not name or "://" in path or ".." in name.split("/"):
        return ""
    return f"{repository}/blob/HEAD/{_encoded(name, '/')}" + (f"#{_encoded(heading, '')}" if heading else "")


def _encoded(text: str, kept: str) -> str:
    return quote(cleaned(text), safe=kept)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()[:200]).strip("-")[:_MAX_SLUG_CHARS].rstrip("-")
