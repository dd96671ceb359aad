"""The demo: one incident, played from the report to the merged postmortem."""

from app.sandbox.demo.play import Played, play

__all__ = ["Played", "play"]
