"""Whether the app looks after this repository: then a run leaves everything to it."""

from __future__ import annotations

from collections.abc import Iterable

from app.github.signed_marker import marked
from app.ports import Comment
from app.runner.context import BOT


def of_app(comments: Iterable[Comment]) -> Comment | None:
    """The first comment that ends like one of the app's; its signature is made with a key that we have not.

    Who can make another bot of the repository end a comment like this can stop the runs, which say so with a link to it.
    """
    return next((each for each in comments if each.bot and each.author != BOT and marked(each.body)), None)
