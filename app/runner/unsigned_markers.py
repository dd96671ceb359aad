"""What counts of our own markers where no secret signs them: nothing that gives a right or silences an alarm.

Without a secret the key of the markers follows from the repository, so anyone can make one, and any workflow of the
repository that echoes a stranger's text writes it as `github-actions[bot]`.  So a marker is then only a hint:

- Rights: never.  The roles that a board records are dropped, and GitHub is asked; the author of the report is the one
  that GitHub names.
- Commands that a board keeps of comments that were edited later: only where GitHub shows that comment, edited, by that
  author, whose rights are asked for anew.  Those of deleted comments are dropped.
- The times of a board (until when everything was done, what is due next), the graded answers and the labels at the
  opening: only from the oldest board since the incident was declared.  That is ours, since a run answers the opening
  itself; one that was echoed later, or before there was an incident, is not even looked at.
- That a notice was posted: only where its comment mentions all whom the notice has to reach.
- That a question was answered, and where our board is: always.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from app.core.effects import Effect, Notice
from app.github.board_state import BoardState, MarkedComment, parse_board_state
from app.ports import Comment

HINT = (
    "No signing secret is set: the markers in our comments prove nothing, so GitHub is asked for every right anew, and"
    " a command counts only as long as its author has the right to it. To sign them:"
    ' `gh secret set MUSTER_SIGNING_SECRET --body "$(openssl rand -hex 32)"`, and give each step'
    " `signing-secret: ${{ secrets.MUSTER_SIGNING_SECRET }}`."
)
"""Sentences for the summary of a run without a secret."""
_NOT_SHOWN = re.compile(r"<!--.*?(?:-->|\Z)|```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`", re.DOTALL)
"""Parts of Markdown in which GitHub finds no mention: comments and code."""
_MENTION = re.compile(r"(?<![\w/@.])@([a-z0-9][a-z0-9-]*(?:/[a-z0-9][\w.-]*)?)", re.IGNORECASE)


def find_first_board(
    own_comments: Sequence[MarkedComment], comments: Sequence[Comment], opened_at: datetime
) -> tuple[Comment | None, BoardState | None]:
    """Return the oldest board since the opening, and what may be believed of it."""
    for comment, content in own_comments:
        if comment.created_at >= opened_at and (state := parse_board_state(content)):
            return comment, keep_proven_commands(replace(state, role_history=()), comments)
    return None, None


def keep_proven_commands(state: BoardState, comments: Iterable[Comment]) -> BoardState:
    """Return the state with those kept commands only whose comments GitHub shows, edited, by their authors."""
    if state.snapshot is None:
        return state
    edited = {one.id: one.author for one in comments if one.updated_at not in (None, one.created_at)}
    kept = tuple(one for one in state.snapshot.changed_commands if edited.get(one[1].comment) == one[1].by)
    return replace(state, snapshot=replace(state.snapshot, changed_commands=kept))


def drop_unfounded_keys(
    own_comments: Iterable[MarkedComment], effects: Iterable[Effect], render: Callable[[Notice], str]
) -> tuple[MarkedComment, ...]:
    """Drop the keys of notices from comments that do not mention whom the notice has to reach.

    `render` returns the text of a notice; its mentions are the ones that count.
    """
    notices = {effect.key: effect for effect in effects if isinstance(effect, Notice)}
    wanted = dict[str, frozenset[str]]()

    def is_founded(key: str, mentions: frozenset[str]) -> bool:
        if key not in notices:
            return True
        if key not in wanted:
            wanted[key] = find_mentions(render(notices[key]))
        return wanted[key] <= mentions

    kept = list[MarkedComment]()
    for comment, content in own_comments:
        mentions = find_mentions(comment.body)
        keys = [key for key in map(str, content.get("keys", ())) if is_founded(key, mentions)]
        kept.append((comment, {**content, "keys": keys}))
    return tuple(kept)


def find_mentions(text: str) -> frozenset[str]:
    """Return the people and teams that a text mentions, in lower case; what GitHub does not show is no mention."""
    return frozenset(name.lower() for name in _MENTION.findall(_NOT_SHOWN.sub(" ", text)))
