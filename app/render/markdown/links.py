"""Build the links to the runbooks and the war room of an incident (D3, D9).

Names and addresses come from the team's policy.  Only the service may come from an untrusted report, so it is inserted
as a slug.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from app.core.effective_policy import affected_services
from app.core.incident import Incident
from app.core.policy import Policy
from app.render.markdown.markup import Markdown, escape, link, markdown
from app.text import replace_unstorable

_MAX_CHARS = 4096
"""Maximum length of a text with placeholders, before and after they are filled in."""

_MAX_SLUG_CHARS = 40
_PLACEHOLDER_PATTERN = re.compile(r"([-_ ]?)\{\{ {0,3}([a-z]{1,20}) {0,3}\}\}")
_URL_CHARS = "/:?#&=%+~@,{}"
"""Characters that stay unencoded in an address.

They include braces: an unfilled placeholder keeps its own, so the text is no valid address.
"""


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Replace each `{{ name }}` in the text by its value; unknown names stay unchanged.

    Where the value is empty, the separator before the placeholder is removed too.
    """

    def replace_placeholder(match: re.Match[str]) -> str:
        given = values.get(match[2])
        if given is None:
            return match[0]
        return match[1] + given if given else ""

    return _PLACEHOLDER_PATTERN.sub(replace_placeholder, text[:_MAX_CHARS])[:_MAX_CHARS]


def war_room_link(incident: Incident, policy: Policy) -> Markdown | None:
    """Build the link to the war room; None: incidents of this severity have none."""
    settings = policy.war_room
    if incident.severity not in settings.severities:
        return None
    service = next(iter((*affected_services(policy, incident.report), *incident.report.services)), "")
    values = {"id": incident.id.lower(), "number": str(incident.number), "service": _slug(service)}
    name = fill_placeholders(settings.name, values).strip("-_ ")
    url_values = {place: _percent_encode(value, "") for place, value in {**values, "room": name}.items()}
    url = fill_placeholders(settings.link, url_values)
    return _link_or_text(escape(name, 100) if name else markdown("{}", incident.id), _https_url(url), url)


def runbook_links(incident: Incident, policy: Policy) -> list[Markdown]:
    """Build the links to the runbooks of the affected services, then to those of the incident's type."""
    report = incident.report
    names = [name for service in affected_services(policy, report).values() for name in service.runbooks]
    names += [name for name, known in policy.runbooks.items() if report.kind and report.kind in known.kinds]
    targets = [(name, policy.runbooks[name].link) for name in dict.fromkeys(names) if name in policy.runbooks]
    return [
        _link_or_text(escape(name, 60), _https_url(at) or _repository_file_url(at, incident), at)
        for name, at in targets
    ]


def _link_or_text(text: Markdown, url: str, original: str) -> Markdown:
    """Link the text, or show the original address beside it where that cannot be linked."""
    linked = link(text, url)
    return linked if linked != text or not original else markdown("{} ({})", text, escape(original, 200))


def _https_url(text: str) -> str:
    """Encode the text as an https address; empty where it is none, since only https is linked."""
    return _percent_encode(text, _URL_CHARS) if text.startswith("https://") else ""


def _repository_file_url(path: str, incident: Incident) -> str:
    """Build the URL of a file on the default branch of the incident's repository; empty where that is impossible."""
    repository, issue, _ = incident.url.rpartition("/issues/")
    name, _, heading = path.removeprefix("./").lstrip("/").partition("#")
    if not issue or not name or "://" in path or ".." in name.split("/"):
        return ""
    return f"{repository}/blob/HEAD/{_percent_encode(name, '/')}" + (
        f"#{_percent_encode(heading, '')}" if heading else ""
    )


def _percent_encode(text: str, safe_chars: str) -> str:
    return quote(replace_unstorable(text), safe=safe_chars)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()[:200]).strip("-")[:_MAX_SLUG_CHARS].rstrip("-")
