"""Gauges that more than one part of the worker reads or sets."""

from __future__ import annotations

from prometheus_client import Gauge

OLDEST_ALARM = Gauge("muster_oldest_alarm_seconds", "How long the most overdue alarm has been waiting")
