"""Sign and read the machine-readable last line (marker) of our own comments.

A marker counts only in a comment written by us, as its very last line, and with a signature over the repository,
the issue and its content.  A marker that is copied, quoted or made up is therefore only text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.ports import Comment, IncidentKey

_PREFIX, _SUFFIX = "<!-- muster:1 ", " -->"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs and reads markers.  The first secret signs; all are accepted, so that secrets can be rotated.

    `app_id` is our App.  `bot_login` identifies our comments by their author instead: that is the case inside GitHub
    Actions.
    """

    secrets: Sequence[str]
    app_id: int = 0
    bot_login: str = ""

    def marker(self, incident_key: IncidentKey, content: Mapping[str, Any]) -> str:
        """Return the signed marker line that holds `content`."""
        data = base64.urlsafe_b64encode(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).decode()
        return f"{_PREFIX}{data} {_mac(self.secrets[0], incident_key, data)}{_SUFFIX}"

    def read(self, incident_key: IncidentKey, comment: Comment) -> dict[str, Any] | None:
        """Return the content of the comment's marker; None if it has no valid one."""
        is_ours = comment.author == self.bot_login if self.bot_login else comment.app_id == self.app_id
        if not (comment.bot and is_ours and has_marker(comment.body)):
            return None
        data, _, mac = _last_line(comment.body)[len(_PREFIX) : -len(_SUFFIX)].partition(" ")
        expected = [
            hmac.compare_digest(_mac(secret, incident_key, data), mac) for secret in self.secrets if mac.isascii()
        ]
        if not any(expected):
            return None
        try:
            content = json.loads(base64.urlsafe_b64decode(data))
        except (binascii.Error, ValueError):
            return None
        return content if isinstance(content, dict) else None


def has_marker(body: str) -> bool:
    """Return True if the text ends with a line in the form of a marker, whether or not it is authentic."""
    last = _last_line(body)
    return last.startswith(_PREFIX) and last.endswith(_SUFFIX)


def _last_line(body: str) -> str:
    return body.rstrip().rpartition("\n")[2]


def _mac(secret: str, incident_key: IncidentKey, data: str) -> str:
    key = hashlib.sha256(b"muster marker " + secret.encode()).digest()
    return hmac.new(key, f"{incident_key} {data}".encode(), hashlib.sha256).hexdigest()[:40]
