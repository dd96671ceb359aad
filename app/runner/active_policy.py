"""Find the active policy without stored state: that of the files, or the nearest valid one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.core.policy import Policy
from app.policy_file import (
    DEFAULT_PROFILE,
    POLICY_PATH,
    PROFILES,
    PolicyFault,
    PolicyFaults,
    load_profile,
    read_policy,
    uses_organisation_policy,
)
from app.ports import CalendarFile, DeliveryFailed, Repository, Tracker
from app.text import make_visible

_MAX_VERSIONS = 10
"""Maximum number of earlier versions tried when the file has a fault."""
_LOOKBACK_PERIOD, _LOOKAHEAD_PERIOD = timedelta(days=14), timedelta(days=60)
"""How far back and how far ahead of now shifts are read, as in the app."""


@dataclass(frozen=True, slots=True)
class RunnerPolicy:
    """The active policy.

    `version` distinguishes it from others.  `faults` are those of the repository's own file; `problems` is everything
    that a person has to correct, a sentence each; `warning` is what people on an issue should know of it, empty:
    nothing.
    """

    policy: Policy
    version: str
    faults: tuple[PolicyFault, ...] = ()
    problems: tuple[str, ...] = ()
    warning: str = ""


def load_policy(tracker: Tracker, repository: Repository, now: datetime) -> RunnerPolicy:
    """Load the active policy of the repository: one call, two where its organisation's file counts.

    A file with a fault changes nothing: its newest valid version applies, or else a profile.  Raises DeliveryFailed
    when GitHub cannot be reached now.
    """
    try:
        own, organisation = _load_texts(tracker, repository)
    except DeliveryFailed as failed:
        if failed.retry_after is not None:
            raise
        reason = f"{POLICY_PATH} cannot be read ({failed})"
        return RunnerPolicy(
            load_profile(DEFAULT_PROFILE), "unread", (), (reason,), f"{reason}, so the profile {DEFAULT_PROFILE} holds."
        )
    active = _parse_policy(tracker, repository, own, organisation)
    policy, problems = _with_feed_shifts(tracker, active.policy, own, now)
    return (
        replace(active, policy=policy, problems=(*active.problems, *problems))
        if policy is not active.policy or problems
        else active
    )


def _load_texts(tracker: Tracker, repository: Repository) -> tuple[str | None, str | None]:
    """Load the repository's own file, and its organisation's where that counts.  Raises DeliveryFailed."""
    own = tracker.policy("").text
    if uses_organisation_policy(own) and not repository.is_organisation_config:
        return own, tracker.organisation_policy("").text
    return own, None


def _parse_policy(tracker: Tracker, repository: Repository, own: str | None, organisation: str | None) -> RunnerPolicy:
    name = POLICY_PATH if own is not None else f"{repository.name.partition('/')[0]}/.github: {POLICY_PATH}"
    text = organisation if own is None else own
    if text is None:
        return RunnerPolicy(load_profile(DEFAULT_PROFILE), _version_hash())
    try:
        return RunnerPolicy(
            read_policy(text, name=name, org=organisation, accept_former_names=True), _version_hash(own, organisation)
        )
    except PolicyFaults as found:
        faults = found.errors
    policy, fallback_name = _fallback_policy(tracker, own, organisation)
    fault_count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    return RunnerPolicy(
        policy,
        _version_hash(own, organisation, fallback_name),
        faults if own is not None else (),
        tuple(map(str, faults)),
        f"The policy file has {fault_count}, the first at {faults[0]}. Until that is mended, {fallback_name} holds.",
    )


def _fallback_policy(tracker: Tracker, own: str | None, organisation: str | None) -> tuple[Policy, str]:
    """Return the policy that replaces a file with a fault, and its name."""
    if own is not None:
        for commit, text in _earlier_versions(tracker):
            try:
                policy = read_policy(text, org=organisation, accept_former_names=True)
            except PolicyFaults:
                continue
            return policy, f"the version of commit {commit[:7]}"
        base_profile = next(
            (profile for profile in PROFILES if f"extends: {profile}" in own.splitlines()), DEFAULT_PROFILE
        )
        return load_profile(base_profile), f"the profile {base_profile}"
    return load_profile(DEFAULT_PROFILE), f"the profile {DEFAULT_PROFILE}"


def load_fallbacks(
    tracker: Tracker, repository: Repository, active: RunnerPolicy, problem: Exception, now: datetime
) -> Iterator[RunnerPolicy]:
    """Yield the policies to follow where the rules fail under the active one: that before it, then the shipped profile.

    They count as the same version, since the file is the same.  Raises DeliveryFailed.
    """
    reason = make_visible(f"{type(problem).__name__}: {problem}")[:200]
    own, organisation = _load_texts(tracker, repository)
    shipped = load_profile(DEFAULT_PROFILE), f"the profile {DEFAULT_PROFILE}"
    for fallback, name in (_fallback_policy(tracker, own, organisation), shipped):
        policy, problems = _with_feed_shifts(tracker, fallback, own, now)
        failure = f"{POLICY_PATH}: Muster's rules fail with it ({reason})"
        yield replace(
            active,
            policy=policy,
            problems=(*active.problems, failure, *problems),
            warning=f"{failure}. Where they do, {name} holds.",
        )


def _earlier_versions(tracker: Tracker) -> Iterator[tuple[str, str]]:
    """Yield earlier versions of the file, the newest first, as far back as GitHub lists them."""
    try:
        for commit in tracker.commits_of(POLICY_PATH)[1 : _MAX_VERSIONS + 1]:
            text = tracker.file(POLICY_PATH, commit)
            if text is not None:
                yield commit, text
    except DeliveryFailed as failed:
        if failed.retry_after is not None:
            raise


def _version_hash(*texts: str | None) -> str:
    content = "\0\0".join("\0" if text is None else text for text in texts)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:12]


def _with_feed_shifts(tracker: Tracker, policy: Policy, own: str | None, now: datetime) -> tuple[Policy, list[str]]:
    """Return the policy with freshly fetched shifts of its feeds, and the problems of those feeds."""
    with_feed = {name: rotation for name, rotation in policy.rotations.items() if rotation.feed}
    if not with_feed:
        return policy, []
    rotations, problems = dict(policy.rotations), list[str]()
    for name, rotation in with_feed.items():
        from app.feeds import FeedFault, match_people, read_occurrences  # noqa: PLC0415  most policies name no feed

        try:
            text = _fetch_feed(tracker, rotation.feed, in_repository=own is not None)
            result = match_people(
                read_occurrences(text, now - _LOOKBACK_PERIOD, now + _LOOKAHEAD_PERIOD),
                policy.people,
                rotation.zone,
                now,
            )
        except (DeliveryFailed, FeedFault) as problem:
            problems.append(f"rotations.{name}.feed cannot be used, {problem}; its turns hold, where it has any")
            continue
        rotations[name] = replace(rotation, shifts=result.shifts)
        problems += [
            f"rotations.{name}.feed says '{one}', which names nobody of `people`" for one in result.unmatched[:5]
        ]
    return replace(policy, rotations=rotations), problems


def _fetch_feed(tracker: Tracker, source: str, *, in_repository: bool) -> bytes:
    """Fetch the text of a feed.

    `in_repository`: a path is looked up in this repository first, then in the organisation's.  Raises DeliveryFailed.
    """
    if source.startswith("env:"):
        raise DeliveryFailed("a run of GitHub Actions has no such variable", retry_after=None)
    if source.startswith(("https://", "http://")):
        from app.feeds import MAX_FEED_BYTES  # noqa: PLC0415
        from app.safe_http import SafeHttpClient  # noqa: PLC0415

        response = SafeHttpClient().get(
            source, headers={"Accept": "text/calendar, */*;q=0.1"}, max_bytes=MAX_FEED_BYTES, timeout_seconds=10.0
        )
        return response.body
    sources: tuple[Callable[[], CalendarFile], ...] = (
        lambda: tracker.feed(source, "", organisation=False),
        lambda: tracker.feed(source, "", organisation=True),
    )
    for load in sources if in_repository else sources[1:]:
        if (content := load().content) is not None:
            return content
    raise DeliveryFailed("there is no such file in the repository", retry_after=None)
