"""The sandbox GitHub: a stateful GitHub on loopback, as strict as the real one, with pages to look at."""

from app.sandbox.github.errors import ApiError
from app.sandbox.github.limits import Limits
from app.sandbox.github.registration import AppRegistration
from app.sandbox.github.server import SandboxGitHub

__all__ = ["ApiError", "AppRegistration", "Limits", "SandboxGitHub"]
