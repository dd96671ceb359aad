"""GitHub's way of saying no."""

from __future__ import annotations

from typing import Any

FieldError = dict[str, str]


class Declined(Exception):
    """An HTTP status with GitHub's words, and field errors where a field is to blame."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: list[FieldError] | None = None,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(f"{status} {message} {errors or ''}".rstrip())
        self.status = status
        self.message = message
        self.errors = errors
        self.headers = headers or {}
        self.more = more


def not_found() -> Declined:
    """What is not there, and what a token may not see: GitHub does not tell them apart."""
    return Declined(404, "Not Found")


def invalid(resource: str, field: str, code: str = "invalid", message: str | None = None) -> Declined:
    """One field is wrong; `code` is GitHub's word for how: missing_field, invalid, already_exists, custom."""
    error = {"resource": resource, "field": field, "code": code}
    if message is not None:
        error["message"] = message
    return Declined(422, "Validation Failed", [error])
