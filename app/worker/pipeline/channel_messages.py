"""Render and queue a message for each channel in the transaction that creates the notice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime

from app.core.effects import Effect, Notice
from app.core.incident import Incident
from app.core.policy import Policy
from app.ports import IncidentKey
from app.render import channel_message, is_for_channels
from app.store import channel_outbox, outbox
from app.store.database import Db


def queue_messages(
    db: Db, incident_key: IncidentKey, incident: Incident, effects: Iterable[Effect], policy: Policy, now: datetime
) -> None:
    """Queue a message for each new notice and each channel that serves its `via`.

    Call it before the notices are put in the outbox: a notice that is there already is not new, so a channel that is
    added later gets no messages about the past.
    """
    if not policy.channels or incident.unavailable:
        return
    notices = [effect for effect in effects if isinstance(effect, Notice) and effect.via and is_for_channels(effect)]
    known = outbox.find_known_keys(db, incident_key, [notice.key for notice in notices]) if notices else set[str]()
    for notice in notices:
        if notice.key in known:
            continue
        for name in channel_names(notice, policy):
            text = channel_message(notice, incident, policy, now, key=message_key(incident_key, notice, name))
            channel_outbox.add_message(db, incident_key, notice, name, text, now)


def channel_names(notice: Notice, policy: Policy) -> Iterator[str]:
    """Return the names of the channels that serve the notice."""
    return (name for name, channel in policy.channels.items() if not set(channel.serves).isdisjoint(notice.via))


def message_key(incident_key: IncidentKey, notice: Notice, channel: str) -> str:
    """Return the key by which the receiver recognizes the message; a rebuild yields the same key."""
    return hashlib.sha256(f"{incident_key} {notice.key}>{channel}".encode()).hexdigest()[:40]
