"""The demo: one incident, played from the report to the merged postmortem."""

from app.sandbox.demo.play import DemoResult, play

__all__ = ["DemoResult", "play"]
