"""Load the policy that is active in a repository.

The files are read when they are first needed, after a push that touched them, and every few hours: that of the
repository, and that of its organisation if the repository has none or builds on it.  A faulty file changes nothing: the
last good one stays active, and the fault is reported once.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import version

import structlog

from app.core.policy import Policy
from app.policy_file import (
    DEFAULT_PROFILE,
    POLICY_PATH,
    PolicyFaults,
    load_profile,
    read_policy,
    uses_organisation_policy,
)
from app.policy_source.on_call_feeds import FeedProblem, OnCallFeeds
from app.ports import DeliveryFailed, PolicyFile, Repository, Tracker
from app.store import policies
from app.store.database import Database, Db
from app.store.policies import PolicyScope, StoredPolicy
from app.text import make_visible

_REFRESH_INTERVAL = timedelta(hours=2)
"""Interval between two reads of a file, in case the delivery of a push was lost."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """A problem in a policy that has to be fixed.

    `version` identifies it, so that it is reported once per `scope`.
    """

    scope: PolicyScope
    version: str
    faults: tuple[str, ...]

    @property
    def notice_key(self) -> str:
        """Key of the notice that reports the problem."""
        return f"policy/{self.version}"

    def mark_reported(self, db: Db) -> bool:
        """Mark the problem as reported; return True if it was not before."""
        return policies.claim_fault_report(db, self.scope, self.version)


@dataclass(frozen=True, slots=True)
class ActivePolicy:
    """The active policy, and the problems of newer files and of its feeds."""

    policy: Policy
    problems: tuple[PolicyProblem, ...] = ()
    texts: tuple[str | None, str | None] = (None, None)
    """The files that the policy was read from: the repository's, and the organisation's that it builds on."""

    @property
    def version(self) -> str:
        """What identifies these files, with the release that reads them."""
        return hashlib.sha256(f"{_release()} {_digest(*self.texts)}".encode()).hexdigest()[:16]

    @property
    def notice_keys(self) -> frozenset[str]:
        """Keys of the notices that report the current problems."""
        return frozenset(problem.notice_key for problem in self.problems)

    @property
    def faults(self) -> tuple[str, ...]:
        """All problems, one line each."""
        return tuple(fault for problem in self.problems for fault in problem.faults)


class PolicySource:
    """Policies of all repositories: files in the database, parsed policies in memory."""

    def __init__(self, feeds: OnCallFeeds | None = None) -> None:
        self._feeds = feeds or OnCallFeeds()
        self._parsed: dict[tuple[str | None, str | None], Policy] = {}
        self._lock = threading.Lock()

    def load(self, database: Database, tracker: Tracker, repository: Repository, now: datetime) -> ActivePolicy:
        """Load the policy of the repository at `now`.

        If GitHub cannot be asked, the last known files apply.
        """
        own_scope = PolicyScope.repository(repository.id)
        organisation_scope = PolicyScope.organisation(repository.installation)
        with database.autocommit() as db:
            known = policies.load_stored_policy(db, own_scope)
        own_file, newest = _refresh_file(known, tracker.policy, now, repository)
        needs_organisation = uses_organisation_policy(newest) and not repository.is_organisation_config
        organisation_file = (
            self._load_organisation_file(database, tracker, repository, now) if needs_organisation else StoredPolicy()
        )
        if needs_organisation and _was_never_read(organisation_file):
            own_file = known  # the newest file cannot be validated yet
        else:
            own_file = _validate_newest(
                own_file, newest, _select_base_text(organisation_file, newest) if needs_organisation else None
            )
            if own_file != known:
                with database.transaction() as db:
                    policies.save_stored_policy(db, own_scope, own_file)
        problems = [
            *_file_problems(own_scope, own_file),
            *(_file_problems(organisation_scope, organisation_file) if needs_organisation else ()),
        ]
        policy, base = self._parse_cached(own_file.text, own_file.base_text), None
        if own_file.base_text is not None:
            base = self._parse_cached(None, own_file.base_text)
        filled, feed_problems = self._feeds.fill_rotations(database, tracker, repository, policy, base, now)
        return ActivePolicy(
            filled,
            (*problems, *_feed_problems(feed_problems, repository, own_scope, organisation_scope)),
            (own_file.text, own_file.base_text),
        )

    def load_cached(self, database: Database, repository: Repository) -> Policy:
        """Load the last known policy without shifts, for callers that must not wait for GitHub or a feed."""
        with database.autocommit() as db:
            known = policies.load_stored_policy(db, PolicyScope.repository(repository.id))
        return self._parse_cached(known.text, known.base_text)

    def fallbacks(self, database: Database, repo_id: int) -> Iterator[Policy]:
        """Yield the policies to try where the rules fail under the active one, the best first.

        They are the file that was active before, and the shipped profile.
        """
        with database.autocommit() as db:
            stored = policies.load_stored_policy(db, PolicyScope.repository(repo_id))
        if stored.previous_text is not None or stored.previous_base_text is not None:
            yield self._parse_cached(stored.previous_text, stored.previous_base_text)
        yield load_profile(DEFAULT_PROFILE)

    def record_failure(self, database: Database, repo_id: int, problem: Exception) -> PolicyProblem:
        """Record that the rules failed under the active policy, so that it is reported; return the problem."""
        scope = PolicyScope.repository(repo_id)
        reason = make_visible(f"{type(problem).__name__}: {problem}")[:200]
        with database.transaction() as db:
            stored = policies.load_stored_policy(db, scope)
            failure_version = hashlib.sha256(f"{stored.evaluated_versions} {reason}".encode()).hexdigest()
            failure = (
                f"{POLICY_PATH}: Muster's rules fail with it ({reason}). What it says now is not followed where they"
                " do; the policy before it is, or else the shipped one."
            )
            policies.record_failure(db, scope, failure, failure_version)
        return PolicyProblem(scope, failure_version[:12], (failure,))

    def load_base_text(
        self, database: Database, tracker: Tracker, repository: Repository, text: str | None, now: datetime
    ) -> str | None:
        """Load the organisation's file on which the repository's builds if that is `text`; None: there is none.

        Raises DeliveryFailed while it is not known.
        """
        if repository.is_organisation_config:
            return None
        organisation_file = self._load_organisation_file(database, tracker, repository, now)
        if _was_never_read(organisation_file):
            raise DeliveryFailed("the organisation's policy is not known now", retry_after=5)
        return _select_base_text(organisation_file, text)

    def _load_organisation_file(
        self, database: Database, tracker: Tracker, repository: Repository, now: datetime
    ) -> StoredPolicy:
        """Load the organisation's file; refresh it if due."""
        with database.autocommit() as db:
            known = policies.load_stored_policy(db, PolicyScope.organisation(repository.installation))
        organisation_file, newest = _refresh_file(known, tracker.organisation_policy, now, repository)
        if organisation_file == known:
            return known
        organisation_file = _validate_newest(organisation_file, newest, None, name=_organisation_file_name(repository))
        with database.transaction() as db:
            policies.save_stored_policy(db, PolicyScope.organisation(repository.installation), organisation_file)
        return organisation_file

    def _parse_cached(self, text: str | None, base: str | None) -> Policy:
        if text is None and base is None:
            return load_profile(DEFAULT_PROFILE)
        with self._lock:
            if (text, base) not in self._parsed:
                if len(self._parsed) > 500:
                    self._parsed.clear()
                self._parsed[text, base] = _parse_or_default(text, base)
            return self._parsed[text, base]


@cache
def _release() -> str:
    """Return the version of this program: a newer one may read or obey a policy that this one cannot."""
    return version("muster")


def _refresh_file(
    stored: StoredPolicy, fetch: Callable[[str], PolicyFile], now: datetime, repository: Repository
) -> tuple[StoredPolicy, str | None]:
    """Refresh a file if it is due; return its stored state and its newest text."""
    if stored.checked_at is not None and now - stored.checked_at < _REFRESH_INTERVAL:
        return stored, stored.newest_text
    try:
        found = fetch(stored.etag)
    except DeliveryFailed as failed:
        log.warning("policy not read", repository=repository.name, reason=str(failed))
        return stored, stored.newest_text
    if found.unchanged:
        return replace(stored, checked_at=now), stored.newest_text
    return replace(stored, etag=found.etag, checked_at=now), found.text


def _validate_newest(
    stored: StoredPolicy, newest: str | None, base: str | None, *, name: str = POLICY_PATH
) -> StoredPolicy:
    """Make the newest file active, with the base file it builds on, if it is valid; else record its faults."""
    versions = _digest(newest, base)
    if versions == stored.evaluated_versions:
        return stored
    try:
        if newest is not None:
            read_policy(newest, name=name, org=base)
    except PolicyFaults as faults:
        fault = "\n".join(str(one) for one in faults.errors)
        return replace(stored, fault=fault, fault_text=newest or "", evaluated_versions=versions)
    changed = replace(stored, text=newest, base_text=base, fault="", fault_text="", evaluated_versions=versions)
    if (newest, base) == (stored.text, stored.base_text):
        return changed
    return replace(
        changed, previous_text=stored.text, previous_base_text=stored.base_text, failure="", failure_version=""
    )


def _was_never_read(stored: StoredPolicy) -> bool:
    """Return True if it is not known yet whether the file exists."""
    return stored.checked_at is None and stored.newest_text is None


def _select_base_text(organisation_file: StoredPolicy, newest: str | None) -> str | None:
    """Return the organisation's file against which a repository's is validated: the last good one."""
    if organisation_file.text is None and newest is not None:
        return organisation_file.newest_text  # no version was ever valid, so the fault of the newest is reported
    return organisation_file.text


def _parse_or_default(text: str | None, base: str | None) -> Policy:
    """Parse a file that was valid when it became active.

    Names that an earlier release accepted are no fault here: what they name is refused where it is used.  If a later
    release cannot parse the file any more, fall back to the default profile, so that deadlines keep running.
    """
    try:
        if text is None:
            return read_policy(base or "", accept_former_names=True)
        return read_policy(text, org=base, accept_former_names=True)
    except PolicyFaults as faults:
        log.error("active policy can no longer be parsed", reason=str(faults))
        return load_profile(DEFAULT_PROFILE)


def _file_problems(scope: PolicyScope, stored: StoredPolicy) -> Iterable[PolicyProblem]:
    if stored.fault:
        yield PolicyProblem(scope, stored.evaluated_versions[:12], tuple(stored.fault.splitlines()))
    if stored.failure:
        yield PolicyProblem(scope, stored.failure_version[:12], (stored.failure,))


def _feed_problems(
    feed_problems: Iterable[FeedProblem],
    repository: Repository,
    own_scope: PolicyScope,
    organisation_scope: PolicyScope,
) -> Iterable[PolicyProblem]:
    for one in feed_problems:
        file = _organisation_file_name(repository) if one.shared else POLICY_PATH
        yield PolicyProblem(
            organisation_scope if one.shared else own_scope,
            one.version,
            (f"{file}: rotations.{one.rotation}.feed: {one.sentence}",),
        )


def _organisation_file_name(repository: Repository) -> str:
    """Return the name of the organisation's file as policy faults show it."""
    return f"{repository.name.partition('/')[0]}/.github: {POLICY_PATH}"


def _digest(text: str | None, base: str | None) -> str:
    own = "\0" if text is None else text
    return hashlib.sha256((own if base is None else f"{own}\0{base}").encode("utf-8", "replace")).hexdigest()
