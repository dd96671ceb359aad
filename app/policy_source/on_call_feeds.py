"""Fill on-call rotations from the calendar feeds that a policy names.

A feed is fetched when a policy first names it, and then at most every 15 minutes.  The last valid content stays in use
until newer content can be read.  A server that is briefly unavailable is not reported; one that stays unavailable is.
"""

from __future__ import annotations

import hashlib
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from app.core.policy import ENV_PREFIX, Policy, Rotation, feed_name
from app.feeds import (
    MAX_FEED_BYTES,
    FeedFault,
    MatchedShifts,
    Occurrence,
    match_people,
    occurrences_from_json,
    occurrences_to_json,
    read_occurrences,
)
from app.policy_source.installations import InstallationCounter
from app.ports import DeliveryFailed, Repository, Tracker
from app.safe_http import SafeHttpClient, parse_address
from app.store import feeds, incidents
from app.store.database import Database
from app.store.feeds import FeedKey, StoredFeed
from app.tenancy import ResolvedValue, Tenant, resolve_feed
from app.text import make_visible

_REFRESH_INTERVAL = timedelta(minutes=15)
_FAILURE_GRACE_PERIOD = timedelta(hours=1)
"""Time for which a feed that was read before may be unavailable until it is reported."""
_LOOKBACK_PERIOD, _LOOKAHEAD_PERIOD = timedelta(days=14), timedelta(days=60)
"""How far back and how far ahead of now shifts are read."""
_REPARSE_INTERVAL = timedelta(days=1)
"""Interval after which unchanged content is parsed again, since the period ahead moves on."""
_MAX_UNKNOWN_PEOPLE = 5
"""Maximum number of unknown people reported per feed."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FeedProblem:
    """A problem with the feed of a rotation that has to be fixed.

    `shared`: the organisation's file names the feed.
    `version` identifies the problem, so that it is reported once; `sentence` can be shown to users.
    """

    rotation: str
    sentence: str
    version: str
    shared: bool


@dataclass(frozen=True, slots=True)
class FeedRotation:
    """A rotation of a policy that has a feed."""

    name: str
    rotation: Rotation
    feed: FeedKey


class OnCallFeeds:
    """Fills the rotations of policies from their feeds.

    `variables` are those of the operator's feeds: `FEED_<NAME>` and `FEED_<NAME>_FOR`.
    `timeout_seconds` applies to all feeds of a policy together, because an incident waits for them.
    """

    def __init__(
        self,
        http_client: SafeHttpClient | None = None,
        variables: Mapping[str, str] | None = None,
        installations: InstallationCounter | None = None,
        *,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._http_client = http_client or SafeHttpClient()
        self._variables = variables or {}
        self._installations = installations
        self._timeout_seconds = timeout_seconds
        self._occurrence_cache: dict[tuple[FeedKey, str, datetime | None], tuple[Occurrence, ...]] = {}
        self._policy_cache: dict[tuple[object, ...], tuple[Policy, Policy, tuple[FeedProblem, ...]]] = {}
        self._lock = threading.Lock()
        self._logged_refusals: set[tuple[str, str, str]] = set()

    def fill_rotations(
        self,
        database: Database,
        tracker: Tracker,
        repository: Repository,
        policy: Policy,
        base: Policy | None,
        now: datetime,
    ) -> tuple[Policy, tuple[FeedProblem, ...]]:
        """Return the policy with the shifts of its feeds, and the problems of those feeds.

        `base` is the organisation's policy that this one builds on: paths that it names are in the organisation's
        repository.
        """
        feed_rotations = [
            FeedRotation(name, rotation, _locate_feed(repository, name, rotation, base))
            for name, rotation in policy.rotations.items()
            if rotation.feed
        ]
        if not feed_rotations:
            return policy, ()
        feed_rotations, refused = self._split_refused(database, repository, feed_rotations)
        states = self._refresh_feeds(database, tracker, tuple(dict.fromkeys(one.feed for one in feed_rotations)), now)
        problems = tuple(_feed_problem(one, states[one.feed]) for one in feed_rotations if states[one.feed].fault)
        filled, unknown = self._with_shifts(database, policy, feed_rotations, states, now)
        return filled, refused + problems + unknown

    def _split_refused(
        self, database: Database, repository: Repository, feed_rotations: list[FeedRotation]
    ) -> tuple[list[FeedRotation], tuple[FeedProblem, ...]]:
        """Split off the rotations whose feed this repository may not use; each of those is a problem.

        Nothing of such a feed is used, not even what was read of it before.
        """
        if not any(one.feed.source.startswith(ENV_PREFIX) for one in feed_rotations):
            return feed_rotations, ()
        tenant = self._find_tenant(database, repository)
        permitted, problems = list[FeedRotation](), list[FeedProblem]()
        for one in feed_rotations:
            if one.feed.source.startswith(ENV_PREFIX) and not self._resolve_feed(one.feed, tenant).value:
                problems.append(_refused_feed_problem(one))
            else:
                permitted.append(one)
        return permitted, tuple(problems)

    def _find_tenant(self, database: Database, repository: Repository) -> Tenant:
        if self._installations is not None:
            return self._installations.find_tenant(repository.name, repository.installation)
        with database.autocommit() as db:
            return Tenant(repository.name, incidents.count_installations(db, repository.installation)[0])

    def _resolve_feed(self, feed: FeedKey, tenant: Tenant) -> ResolvedValue:
        name = feed_name(feed.source)
        found = resolve_feed(name, self._variables, tenant) if name else ResolvedValue(refusal="no name of a feed")
        refusal = (feed.source, tenant.repository, found.refusal)
        if found.refusal and refusal not in self._logged_refusals:
            self._logged_refusals.add(refusal)  # a policy is loaded for each turn of an incident
            log.warning("feed refused", feed=feed.source, repository=tenant.repository, reason=found.refusal)
        return found

    def _refresh_feeds(
        self, database: Database, tracker: Tracker, wanted: tuple[FeedKey, ...], now: datetime
    ) -> dict[FeedKey, StoredFeed]:
        """Refresh the feeds that are due; return what is stored of each."""
        deadline = time.monotonic() + self._timeout_seconds
        with database.transaction() as db:
            states = {feed: feeds.load_stored_feed(db, feed) for feed in wanted}
        for feed, stored in states.items():
            remaining_seconds = deadline - time.monotonic()
            if remaining_seconds > 0 and (stored.checked_at is None or now - stored.checked_at >= _REFRESH_INTERVAL):
                states[feed] = self._refresh_feed(database, tracker, feed, stored, now, remaining_seconds)
            elif stored.read_at is not None and now - stored.read_at >= _REPARSE_INTERVAL:
                states[feed] = self._reparse(database, feed, stored, now)
        return states

    def _refresh_feed(
        self,
        database: Database,
        tracker: Tracker,
        feed: FeedKey,
        stored: StoredFeed,
        now: datetime,
        remaining_seconds: float,
    ) -> StoredFeed:
        try:
            content, etag = self._fetch(tracker, feed, stored, remaining_seconds)
        except DeliveryFailed as failed:
            log.warning("feed not read", feed=_display_name(feed), reason=str(failed))
            permanent = failed.retry_after is None or not stored.digest
            new = _with_failure(stored, str(failed), now, permanent=permanent)
        else:
            if content is not None:
                return self._parse_and_store(database, feed, stored, content, etag, now)
            new = replace(stored, checked_at=now, fault="", failing_since=None)
            if stored.read_at is not None and now - stored.read_at >= _REPARSE_INTERVAL:
                return self._reparse(database, feed, new, now)
        with database.transaction() as db:
            feeds.save_stored_feed(db, feed, new)
        return new

    def _parse_and_store(
        self, database: Database, feed: FeedKey, stored: StoredFeed, content: bytes, etag: str, now: datetime
    ) -> StoredFeed:
        """Parse and store fetched content; if it is invalid, the last good content stays."""
        digest = hashlib.sha256(content).hexdigest()
        try:
            read = read_occurrences(content, now - _LOOKBACK_PERIOD, now + _LOOKAHEAD_PERIOD)
        except FeedFault as fault:
            new = _with_failure(stored, str(fault), now, permanent=True)
            with database.transaction() as db:
                feeds.save_stored_feed(db, feed, new)
            return new
        new = replace(stored, digest=digest, etag=etag, read_at=now, checked_at=now, fault="", failing_since=None)
        with database.transaction() as db:
            feeds.save_stored_feed(db, feed, new, body=content, shifts=occurrences_to_json(read))
        return new

    def _reparse(self, database: Database, feed: FeedKey, stored: StoredFeed, now: datetime) -> StoredFeed:
        """Parse the stored content again for the current window."""
        with database.transaction() as db:
            text = feeds.load_feed_body(db, feed)
        return self._parse_and_store(database, feed, stored, text, stored.etag, now) if text is not None else stored

    def _fetch(
        self, tracker: Tracker, feed: FeedKey, stored: StoredFeed, remaining_seconds: float
    ) -> tuple[bytes | None, str]:
        """Fetch the content and its ETag; None if it is unchanged.  Raises DeliveryFailed."""
        if feed.scope != "anywhere":
            file = tracker.feed(feed.source, stored.etag, organisation=feed.scope == "organisation")
            if file.unchanged:
                return None, stored.etag
            if file.content is None:
                raise DeliveryFailed("there is no such file in the repository", retry_after=None)
            return file.content, file.etag
        source, http_client = feed.source, self._http_client
        if source.startswith(ENV_PREFIX):
            source = self._variables[feed_name(source)]
            if not source.startswith(("https://", "http://")):
                return _read_file(Path(source)), ""
            http_client = http_client.for_operator()
        headers = {"Accept": "text/calendar, */*;q=0.1"} | ({"If-None-Match": stored.etag} if stored.etag else {})
        response = http_client.get(source, headers=headers, max_bytes=MAX_FEED_BYTES, timeout_seconds=remaining_seconds)
        return None if response.is_not_modified else response.body, _safe_etag(response.headers.get("etag", ""))

    def _with_shifts(
        self,
        database: Database,
        policy: Policy,
        feed_rotations: list[FeedRotation],
        states: Mapping[FeedKey, StoredFeed],
        now: datetime,
    ) -> tuple[Policy, tuple[FeedProblem, ...]]:
        """Return the policy with the shifts of each feed, and a problem for each person it does not know."""
        cache_key = (
            id(policy),
            *((one.name, one.feed, states[one.feed].digest, states[one.feed].read_at) for one in feed_rotations),
        )
        with self._lock:
            cached = self._policy_cache.get(cache_key)
        if cached is not None:
            return cached[1:]
        rotations, unknown = dict(policy.rotations), list[FeedProblem]()
        for one in feed_rotations:
            read = self._load_occurrences(database, one.feed, states[one.feed])
            people = match_people(read, policy.people, one.rotation.zone, now)
            rotations[one.name] = replace(one.rotation, shifts=people.shifts)
            if people.unmatched and one.feed.source.startswith(ENV_PREFIX):
                log.warning("feed names unknown people", feed=one.feed.source, names=people.unmatched[:20])
            unknown += _unknown_people_problems(one, people)
        filled = replace(policy, rotations=rotations)
        with self._lock:
            if len(self._policy_cache) > 200:
                self._policy_cache.clear()
            # The source policy is kept too, so that its id, part of the cache key, is not reused.
            return self._policy_cache.setdefault(cache_key, (policy, filled, tuple(unknown)))[1:]

    def _load_occurrences(self, database: Database, feed: FeedKey, stored: StoredFeed) -> tuple[Occurrence, ...]:
        cache_key = (feed, stored.digest, stored.read_at)
        with self._lock:
            if cache_key in self._occurrence_cache:
                return self._occurrence_cache[cache_key]
        with database.transaction() as db:
            found = occurrences_from_json(feeds.load_feed_shifts(db, feed))
        with self._lock:
            if len(self._occurrence_cache) > 200:
                self._occurrence_cache.clear()
            return self._occurrence_cache.setdefault(cache_key, found)


def _locate_feed(repository: Repository, name: str, rotation: Rotation, base: Policy | None) -> FeedKey:
    """Locate the feed of the rotation: a path is relative to the repository of the file that names it."""
    source = rotation.feed
    if source.startswith((ENV_PREFIX, "https://", "http://")):
        return FeedKey("anywhere", 0, source)
    base_rotation = base.rotations.get(name) if base else None
    if base_rotation is not None and base_rotation.feed == source:
        return FeedKey("organisation", repository.installation, source)
    return FeedKey("repository", repository.id, source)


def _with_failure(stored: StoredFeed, fault: str, now: datetime, *, permanent: bool) -> StoredFeed:
    """Record a failure; a temporary one counts as a fault only after the grace period."""
    since = stored.failing_since or now
    return replace(
        stored,
        checked_at=now,
        failing_since=since,
        fault=fault if permanent or now - since >= _FAILURE_GRACE_PERIOD else "",
    )


def _feed_problem(feed_rotation: FeedRotation, stored: StoredFeed) -> FeedProblem:
    consequence = "what was last read holds" if stored.digest else "its turns hold, where it has any"
    since = f"{stored.failing_since:%Y-%m-%d}" if stored.failing_since else ""
    sentence = f"{_display_name(feed_rotation.feed)} cannot be used, {stored.fault}; {consequence}"
    return FeedProblem(
        feed_rotation.name,
        sentence,
        _problem_version(feed_rotation, since),
        shared=feed_rotation.feed.scope == "organisation",
    )


def _refused_feed_problem(feed_rotation: FeedRotation) -> FeedProblem:
    """Return the problem of a feed that this repository may not use: the same, whether or not there is such a feed."""
    if feed_name(feed_rotation.feed.source):
        reason = "it is no feed of this repository: only the operator of Muster can set it up for it"
    else:
        reason = "it is no name of a feed: write env:FEED_NAME, and let the operator of Muster set FEED_NAME"
    return FeedProblem(
        feed_rotation.name,
        f"{_display_name(feed_rotation.feed)} cannot be used, {reason}; its turns hold, where it has any",
        _problem_version(feed_rotation, "refused"),
        shared=False,
    )


def _unknown_people_problems(feed_rotation: FeedRotation, people: MatchedShifts) -> list[FeedProblem]:
    """Return a problem for each of the first few people that the policy does not know.

    The words of a feed of the operator are for the operator's log only: of those, just the number is told.
    """
    if people.unmatched and feed_rotation.feed.source.startswith(ENV_PREFIX):
        count = len(people.unmatched)
        named = "1 event names nobody" if count == 1 else f"{count} events name nobody"
        return [
            FeedProblem(
                feed_rotation.name,
                f"{_display_name(feed_rotation.feed)}: {named} of `people`; the operator's log says which",
                _problem_version(feed_rotation, "unknown people"),
                shared=False,
            )
        ]
    return [
        FeedProblem(
            feed_rotation.name,
            f"{_display_name(feed_rotation.feed)} says '{make_visible(name)}', which names nobody of `people`",
            _problem_version(feed_rotation, name),
            shared=feed_rotation.feed.scope == "organisation",
        )
        for name in people.unmatched[:_MAX_UNKNOWN_PEOPLE]
    ]


def _problem_version(feed_rotation: FeedRotation, detail: str) -> str:
    text = f"{feed_rotation.name}\0{feed_rotation.feed.scope}\0{feed_rotation.feed.source}\0{detail}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _safe_etag(text: str) -> str:
    """Return the ETag of an untrusted server if it is safe to store and send back, else an empty string."""
    return text if len(text) <= 200 and text.isascii() and text.isprintable() else ""


def _display_name(feed: FeedKey) -> str:
    """Return the feed's name for display.  The path of an address is hidden, because it is often a secret."""
    if feed.scope != "anywhere" or feed.source.startswith(ENV_PREFIX):
        return f"'{make_visible(feed.source)}'"
    try:
        return f"'{parse_address(feed.source, loopback=True).redacted_url}'"
    except ValueError:
        return "its address"


def _read_file(path: Path) -> bytes:
    """Read a file that the operator named.  Raises DeliveryFailed."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DeliveryFailed("what the variable names is no file", retry_after=None)
        with path.open("rb") as file:
            return file.read(MAX_FEED_BYTES + 1)
    except OSError as problem:
        raise DeliveryFailed(f"the file cannot be read ({problem.strerror})", retry_after=None) from None
