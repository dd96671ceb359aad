"""What Muster writes: the board, notices, replies and the postmortem as Markdown, and messages as plain text."""

from __future__ import annotations

from app.render.board import board
from app.render.digest import digest
from app.render.messages import goes_out, message
from app.render.notices import notice
from app.render.postmortem import postmortem
from app.render.replies import help_reply, reply

__all__ = ["board", "digest", "goes_out", "help_reply", "message", "notice", "postmortem", "reply"]
