"""Detect whether the app manages this repository, in which case a run leaves everything to it."""

from __future__ import annotations

from collections.abc import Iterable

from app.github.signed_marker import has_marker
from app.ports import Comment
from app.runner.context import BOT_LOGIN


def find_app_comment(comments: Iterable[Comment]) -> Comment | None:
    """Find the first comment that ends like one of the app's; its signature cannot be checked without the key.

    An attacker who can make another bot of the repository end a comment like this can stop the runs; their output then
    links to that comment.
    """
    return next((each for each in comments if each.bot and each.author != BOT_LOGIN and has_marker(each.body)), None)
