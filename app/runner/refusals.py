"""Say what GitHub refused about the postmortem, and what would work."""

from __future__ import annotations

from app.ports import Refusal

_MAX_REASON_CHARACTERS = 110
_ANY_ADVICE = "The rules of the repository have to allow this branch, its file and its pull request."


def describe_refusal(refusal: Refusal) -> str:
    """Say that the pull request was refused, why, and what would work, briefly enough for the board."""
    reason = refusal.reason
    if len(reason) > _MAX_REASON_CHARACTERS:
        reason = f"{reason[: _MAX_REASON_CHARACTERS - 1]}…"
    advice = refusal.advice or _ANY_ADVICE
    return f"The postmortem's pull request was refused: {reason.rstrip('.')}. {advice} The next sweep tries again."
