"""A pretend GitHub on loopback: stateful, strict where GitHub is strict, and pleasant to look at."""

from app.sandbox.declined import Declined
from app.sandbox.limits import Limits
from app.sandbox.registration import AppRegistration
from app.sandbox.server import PretendGitHub

__all__ = ["AppRegistration", "Declined", "Limits", "PretendGitHub"]
