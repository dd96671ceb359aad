"""Renders what Muster writes: comments and the postmortem as Markdown, and channel messages as plain text."""

from __future__ import annotations

from app.render.markdown.board import board
from app.render.markdown.digest import digest
from app.render.markdown.notices import notice
from app.render.markdown.postmortem import postmortem
from app.render.markdown.replies import help_reply, reply
from app.render.text.channel_text import goes_out, message

__all__ = ["board", "digest", "goes_out", "help_reply", "message", "notice", "postmortem", "reply"]
