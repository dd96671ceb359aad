"""Detect whether the app manages this repository, in which case a run leaves everything to it.

Only GitHub can say who wrote a comment: the app is known by its id, which the workflow names.  What a comment says of
itself proves nothing, since any bot can be made to say it; when in doubt a run does its work, so that people are paged
twice rather than never.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.github.signed_marker import has_marker
from app.ports import Comment
from app.runner.context import BOT_LOGIN, RunContext


def find_app_comment(run: RunContext, comments: Iterable[Comment]) -> Comment | None:
    """Find the first comment that the app wrote; a warning names one that only looks like it."""
    app_id, doubtful = run.workflow.app_id, None
    for each in comments:
        if not each.bot or each.author == BOT_LOGIN or not has_marker(each.body):
            continue
        if app_id and each.app_id == app_id:
            return each
        doubtful = doubtful or each
    if doubtful is not None:
        run.warn(_doubt_sentence(doubtful))
    return None


def _doubt_sentence(comment: Comment) -> str:
    """Return the warning about a comment that only looks like one of the app's."""
    return (
        f"{comment.url} ends like a comment of the Muster app, but this workflow cannot tell whether the app wrote it,"
        " so it did its work. If the app serves this repository, give the step the app's id as `app-id`; otherwise"
        " look at who wrote that comment."
    )
