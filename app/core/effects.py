"""What is to be done, as orders.

*Say once, show latest.*  An effect with a `key` is said once: never lost, never doubled, known again by its key.  The
others show a state, and only the newest of a kind counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.core.policy import Via


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The common part.  `key` empty: shows a state, so a newer one replaces it."""

    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Effect):
    """Somebody must act.  Notices that wait together for one incident become one comment.

    `to` are the logins that are mentioned.  `missing` are the contacts that the policy names nobody for, which is why
    the next ones were asked: "nobody reachable" is itself an escalation (E8).  `via` are the kinds of channel that it
    goes out by beside the comment; empty: the comment alone.
    """

    to: tuple[str, ...]
    at: datetime
    missing: tuple[str, ...] = ()
    via: tuple[Via, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Notice):
    """Ask whoever is on call to take the incident.  `times` counts the pages since paging began, from 1."""

    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalate(Notice):
    """Tell the next rung.  `contacts` is whom the policy names there, `do` what it asks for, `because` why now."""

    contacts: tuple[str, ...]
    because: str
    do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce(Notice):
    """Tell those who hear of every incident of that severity at once (E4).  Nothing is asked of them.

    `contacts` is whom the policy names there, `because` why now.
    """

    contacts: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remind(Notice):
    """A promise is near its end or past it.  `clock` names it, `due` is when it ends.

    `about` tells the promises of one clock apart, such as the name of an audience or a regulation; `do` is asked for
    in the words of the policy.
    """

    clock: str
    due: datetime
    about: str = ""
    do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Notice):
    """The report could not be graded: ask for what is missing.  `doubts` say what was found."""

    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend(Notice):
    """The policy file cannot be obeyed; the last good one stays in force.  `faults` say where, and what would work."""

    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered(Notice):
    """A channel will never take a message: those it was for are told here, and somebody has to mend it.

    `what` is the kind of the notice, `why` what the other side said.
    """

    channel: str
    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Effect):
    """Answer one person below their comment."""

    to: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Help(Effect):
    """Answer one person with the list of commands."""

    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class React(Effect):
    """Show below a comment that its commands were obeyed."""

    comment: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign(Effect):
    login: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPostmortem(Effect):
    """Open the pull request with the postmortem: once an incident, whatever happens in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLabels(Effect):
    """Make Muster's own labels on the issue these, and leave all others alone."""

    labels: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowBoard(Effect):
    """Show the incident as it is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowDigest(Effect):
    """Show, in one comment, the incidents of people without rights that notify nobody themselves for now."""
