"""A pretend GitHub on loopback: stateful, strict where GitHub is strict, and pleasant to look at."""

from app.sandbox.github.errors import Declined
from app.sandbox.github.limits import Limits
from app.sandbox.github.registration import AppRegistration
from app.sandbox.github.server import PretendGitHub

__all__ = ["AppRegistration", "Declined", "Limits", "PretendGitHub"]
