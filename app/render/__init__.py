"""What Muster writes on GitHub: the board, notices, replies and the postmortem, as Markdown."""

from __future__ import annotations

from app.render.board import board
from app.render.digest import digest
from app.render.notices import notice
from app.render.postmortem import Document, postmortem
from app.render.replies import help_reply, reply

__all__ = ["Document", "board", "digest", "help_reply", "notice", "postmortem", "reply"]
