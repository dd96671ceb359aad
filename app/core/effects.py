"""The effects of a decision: instructions for the hosts to carry out.

*Say once, show latest.*  An effect with a `key` is carried out exactly once: never lost, never doubled, recognized by
its key.  The others show a state, and only the newest of a kind counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.core.policy import Via


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The base class of effects.  An empty `key` means that it shows a state, so a newer one replaces it."""

    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Effect):
    """A notification that asks people to act.  Notices pending together for one incident become one comment.

    `to` are the logins that are mentioned.  `unstaffed` are the contacts without a person, which is why the next ones
    were asked: "nobody reachable" is itself an escalation (E8).  `via` are the kinds of channel that carry the notice
    beside the comment; empty: the comment alone.
    """

    to: tuple[str, ...]
    at: datetime
    unstaffed: tuple[str, ...] = ()
    via: tuple[Via, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Notice):
    """Ask the people on call to take the incident.  `attempt` counts the pages since paging began, from 1."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalate(Notice):
    """Notify the next escalation step.

    `contacts` are those that the policy names for the step, `do` is what it asks for, `because` why it is due now.
    """

    contacts: tuple[str, ...]
    because: str
    do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce(Notice):
    """Notify those who are informed of every incident of that severity at once (E4); nothing is asked of them.

    `contacts` are those that the policy names there, `because` says why now.
    """

    contacts: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remind(Notice):
    """Remind people of a deadline that is near or past.  `clock` names the clock, `due` is the deadline.

    `about` distinguishes the deadlines of one clock, such as the name of an audience or a regulation; `do` is what the
    policy asks for, in its own words.
    """

    clock: str
    due: datetime
    about: str = ""
    do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeverityQuestion(Notice):
    """Ask for what is missing in a report that could not be graded.  `doubts` say what was found."""

    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UntouchedQuestion(Notice):
    """Ask whether an incident that was last touched at `since` is still one; told in working hours only."""

    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingQuestion(Notice):
    """Ask whether an incident is over whose issue `closed_by` has closed, who has no rights in the repository."""

    closed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFaultNotice(Notice):
    """Report that the policy file is invalid; the last valid policy stays active.

    `faults` say where the file is wrong, and what would work.
    """

    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFailure(Notice):
    """Report that a channel permanently rejects a message, so that its recipients learn of it on the issue.

    A person has to fix the channel.  `notice_kind` is the kind of the notice, `reason` the error that the channel gave.
    """

    channel: str
    notice_kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalNotice(Notice):
    """Report that GitHub refuses a part of our work until a person changes something.

    `what` names the work, `reason` are GitHub's words, `advice` says what would help.
    """

    what: str
    reason: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Effect):
    """Reply to one person below their comment."""

    to: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Help(Effect):
    """Reply to one person with the list of commands."""

    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class React(Effect):
    """Add a reaction to a comment to show that its commands were carried out."""

    comment: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign(Effect):
    """Assign the issue to `login`."""

    login: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPostmortem(Effect):
    """Open the postmortem pull request, once per incident, whatever happens in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRefused(Effect):
    """Try at once what GitHub has refused on this incident, instead of waiting for the next attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLabels(Effect):
    """Set our own labels on the issue to exactly these, and leave all others alone."""

    labels: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowBoard(Effect):
    """Update the board to the current state of the incident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowDigest(Effect):
    """List, in one comment, the unconfirmed reports whose notifications are on hold."""
