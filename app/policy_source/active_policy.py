"""Which policy is in force in a repository.

The files are read when they are first needed, when a push touched them, and every few hours beside: that of the
repository, and that of its organisation where the repository has none or builds on it.  A file with a fault changes
nothing: the last good one stays in force, and the fault is told once.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from app.core.policy import Policy
from app.policy_file import DEFAULT, PATH, PolicyFaults, read, shipped, stands_on_organisation
from app.policy_source.on_call_feeds import Feeds, Wrong
from app.ports import DeliveryFailed, PolicyText, Repository, Tracker
from app.store import policies
from app.store.database import Database, Db
from app.store.policies import Kept, Place

_FRESH = timedelta(hours=2)
"""A push says when the file changed; this is for a push that was lost."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something in a policy that has to be mended.  `version` names what exactly, so that it is told once at its place."""

    place: Place
    version: str
    faults: tuple[str, ...]

    @property
    def told_as(self) -> str:
        """The key of the notice that tells of it."""
        return f"policy/{self.version}"

    def tell(self, db: Db) -> bool:
        """Whether nobody has been told yet; from now on somebody has."""
        return policies.tell(db, self.place, self.version)


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy that holds, and what is wrong with newer files and with the feeds it names."""

    policy: Policy
    troubles: tuple[Trouble, ...] = ()

    @property
    def told_as(self) -> frozenset[str]:
        """The keys of the notices that tell of what is wrong now."""
        return frozenset(trouble.told_as for trouble in self.troubles)

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that is wrong, a line each."""
        return tuple(fault for trouble in self.troubles for fault in trouble.faults)


class Policies:
    """The policies of all repositories: in the database, and read ones in memory."""

    def __init__(self, feeds: Feeds | None = None) -> None:
        self._feeds = feeds or Feeds()
        self._read: dict[tuple[str | None, str | None], Policy] = {}
        self._lock = threading.Lock()

    def of(self, database: Database, tracker: Tracker, repository: Repository, now: datetime) -> InForce:
        """The policy of that repository at `now`.  When GitHub cannot be asked, what was last known holds."""
        home, above = Place.repository(repository.id), Place.organisation(repository.installation)
        with database.look() as db:
            known = policies.kept(db, home)
        own, newest = _looked(known, tracker.policy, now, repository)
        needs = stands_on_organisation(newest) and not repository.is_organisations
        org = self._organisation(database, tracker, repository, now) if needs else Kept()
        if needs and _unknown(org):
            own = known  # whether the newest file can be obeyed, nobody can say yet
        else:
            own = _weighed(own, newest, _base(org, newest) if needs else None)
            if own != known:
                with database.transaction() as db:
                    policies.keep(db, home, own)
        troubles = [*_troubles(home, own), *(_troubles(above, org) if needs else ())]
        policy, base = self._policy(own.text, own.base_text), None
        if own.base_text is not None:
            base = self._policy(None, own.base_text)
        filled, wrong = self._feeds.fill(database, tracker, repository, policy, base, now)
        return InForce(filled, (*troubles, *_feed_troubles(wrong, repository, home, above)))

    def at_hand(self, database: Database, repository: Repository) -> Policy:
        """The policy as it was last known, for those who must not wait for GitHub or a feed: without shifts."""
        with database.look() as db:
            known = policies.kept(db, Place.repository(repository.id))
        return self._policy(known.text, known.base_text)

    def proposed(
        self, database: Database, tracker: Tracker, repository: Repository, text: str | None, now: datetime
    ) -> Policy:
        """The policy that would hold with that text as the repository's file, None without one.

        Its feeds are not read: whoever proposes a file must not choose what we fetch.  Raises PolicyFaults, and
        DeliveryFailed while nobody knows the organisation's file that it stands on.
        """
        base = None
        if stands_on_organisation(text) and not repository.is_organisations:
            org = self._organisation(database, tracker, repository, now)
            if _unknown(org):
                raise DeliveryFailed("the organisation's policy is not known now", retry_after=5)
            base = _base(org, text)
        return self._policy(None, base) if text is None else read(text, org=base)

    def _organisation(self, database: Database, tracker: Tracker, repository: Repository, now: datetime) -> Kept:
        """The organisation's file, after a look where one is due."""
        with database.look() as db:
            known = policies.kept(db, Place.organisation(repository.installation))
        org, newest = _looked(known, tracker.organisation_policy, now, repository)
        if org == known:
            return known
        org = _weighed(org, newest, None, name=_organisations_file(repository))
        with database.transaction() as db:
            policies.keep(db, Place.organisation(repository.installation), org)
        return org

    def _policy(self, text: str | None, base: str | None) -> Policy:
        if text is None and base is None:
            return shipped(DEFAULT)
        with self._lock:
            if (text, base) not in self._read:
                if len(self._read) > 500:
                    self._read.clear()
                self._read[text, base] = _obeyed(text, base)
            return self._read[text, base]


def _looked(
    kept: Kept, ask: Callable[[str], PolicyText], now: datetime, repository: Repository
) -> tuple[Kept, str | None]:
    """What is kept of a file after a look where one is due, and its newest text."""
    if kept.checked_at is not None and now - kept.checked_at < _FRESH:
        return kept, kept.newest
    try:
        found = ask(kept.etag)
    except DeliveryFailed as failed:
        log.warning("policy not read", repository=repository.name, reason=str(failed))
        return kept, kept.newest
    if found.unchanged:
        return replace(kept, checked_at=now), kept.newest
    return replace(kept, etag=found.etag, checked_at=now), found.text


def _weighed(kept: Kept, newest: str | None, base: str | None, *, name: str = PATH) -> Kept:
    """The newest file in force, with the one it stands on, if it can be obeyed; else what is wrong with it."""
    judged = _digest(newest, base)
    if judged == kept.judged:
        return kept
    try:
        if newest is not None:
            read(newest, name=name, org=base)
    except PolicyFaults as faults:
        fault = "\n".join(str(one) for one in faults.faults)
        return replace(kept, fault=fault, fault_text=newest or "", judged=judged)
    return replace(kept, text=newest, base_text=base, fault="", fault_text="", judged=judged)


def _unknown(kept: Kept) -> bool:
    """Whether nobody has seen yet what stands there, or that nothing does."""
    return kept.checked_at is None and kept.newest is None


def _base(org: Kept, newest: str | None) -> str | None:
    """The organisation's file that a repository's is weighed with: the last good one."""
    if org.text is None and newest is not None:
        return org.newest  # there has been no good one: the fault is named then
    return org.text


def _obeyed(text: str | None, base: str | None) -> Policy:
    """A file that was good when it came into force.  Where a later release cannot read it, the clocks run all the same."""
    try:
        return read(text or "", org=base) if text is not None else read(base or "")
    except PolicyFaults as faults:
        log.error("the policy in force cannot be read any more", reason=str(faults))
        return shipped(DEFAULT)


def _troubles(place: Place, kept: Kept) -> Iterable[Trouble]:
    if kept.fault:
        yield Trouble(place, kept.judged[:12], tuple(kept.fault.splitlines()))


def _feed_troubles(wrong: Iterable[Wrong], repository: Repository, home: Place, above: Place) -> Iterable[Trouble]:
    for one in wrong:
        file = _organisations_file(repository) if one.shared else PATH
        yield Trouble(
            above if one.shared else home, one.version, (f"{file}: rotations.{one.rotation}.feed: {one.sentence}",)
        )


def _organisations_file(repository: Repository) -> str:
    """What faults call the organisation's file."""
    return f"{repository.name.partition('/')[0]}/.github: {PATH}"


def _digest(text: str | None, base: str | None) -> str:
    own = "\0" if text is None else text
    return hashlib.sha256((own if base is None else f"{own}\0{base}").encode("utf-8", "replace")).hexdigest()
