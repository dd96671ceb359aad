"""Render what Muster writes: Markdown for GitHub, plain text for channels, tables for terminals."""

from __future__ import annotations

from app.render.markdown.board import render_board
from app.render.markdown.digest import render_digest
from app.render.markdown.notices import render_notices
from app.render.markdown.postmortem import render_postmortem
from app.render.markdown.replies import render_help, render_reply
from app.render.text.channel_text import channel_message, is_for_channels

__all__ = [
    "channel_message",
    "is_for_channels",
    "render_board",
    "render_digest",
    "render_help",
    "render_notices",
    "render_postmortem",
    "render_reply",
]
