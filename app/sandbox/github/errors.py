"""GitHub-style error responses."""

from __future__ import annotations

from typing import Any

FieldError = dict[str, str]


class ApiError(Exception):
    """An error response: HTTP status, GitHub's message and, for an invalid request, the field errors.

    `extra` are further fields of the JSON body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        errors: list[FieldError] | None = None,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(f"{status} {message} {errors or ''}".rstrip())
        self.status = status
        self.message = message
        self.errors = errors
        self.headers = headers or {}
        self.extra = extra


def not_found() -> ApiError:
    """Return a 404, used both for a missing object and for one the token may not see, as GitHub does."""
    return ApiError(404, "Not Found")


def invalid_field(resource: str, field: str, code: str = "invalid", message: str | None = None) -> ApiError:
    """Return a 422 for one field; `code` is GitHub's: missing_field, invalid, already_exists or custom."""
    error = {"resource": resource, "field": field, "code": code}
    if message is not None:
        error["message"] = message
    return ApiError(422, "Validation Failed", [error])
