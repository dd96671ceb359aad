"""Implement the Tracker port for one repository, over GitHub's REST API."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

from app.core.events import Role
from app.github.client import MAX_PAGES, ApiResponse, Client, InstallationGone
from app.github.installations import RepositoryDirectory, api_path
from app.ports import (
    Annotation,
    CalendarFile,
    CheckRun,
    Comment,
    Deferred,
    DeliveryFailed,
    FileChange,
    IssueLock,
    LabelState,
    NewFile,
    NotFound,
    PolicyFile,
    PullRequest,
    Repository,
)
from app.rate_limit import Priority
from app.text import replace_unstorable

_T = TypeVar("_T")

POLICY_PATH = ".github/incidents.yml"
_MAX_POLICY_BYTES = 64 * 1024
_MAX_FEED_BYTES = 1024 * 1024
_MAX_ANNOTATIONS_PER_REQUEST = 50
"""Maximum number of annotations that GitHub accepts in one request."""
_REFERENCE_CONFLICT = "reference update failed"
"""GitHub's words where another branch is in the way of a new one."""
_LOCK_REACTION = "eyes"
"""The reaction on an issue that serves as its lock."""
_MAX_SUMMARY_CHARS = 65_535
"""Longest summary of a check run that GitHub accepts, in characters."""


@dataclass(frozen=True, slots=True)
class GitHubTracker:
    """Implements `app.ports.Tracker` over GitHub's REST API.

    Every call names the repository by its id, since the name of a renamed one may belong to another by now.  `guard` is
    called immediately before each write; if it raises, nothing is written.  `directory` knows
    where a repository is whose installation was replaced.
    """

    client: Client
    repository: Repository
    guard: Callable[[], None] = lambda: None
    directory: RepositoryDirectory = field(default_factory=RepositoryDirectory)

    def with_guard(self, guard: Callable[[], None]) -> GitHubTracker:
        """Return a copy that calls `guard` immediately before each write."""
        return replace(self, guard=guard)

    def with_priority(self, priority: Priority) -> GitHubTracker:
        """Return a copy that calls GitHub with that priority."""
        return replace(self, client=self.client.with_priority(priority))

    def issue(self, number: int) -> Mapping[str, Any]:
        """Fetch an issue as GitHub shows it."""
        found: Mapping[str, Any] = self._call("GET", f"/issues/{number}")
        return found

    def timeline(self, number: int) -> list[Mapping[str, Any]]:
        """Fetch the whole timeline of an issue."""
        return list(self._list_rows(f"/issues/{number}/timeline"))

    def comments(self, number: int, since: datetime | None = None) -> list[Comment]:
        """Fetch an issue's comments, oldest first; with `since`, only those updated since then."""
        params = {"since": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")} if since else {}
        return [comment_from(row) for row in self._list_rows(f"/issues/{number}/comments", params)]

    def incidents(self, label: str) -> list[int]:
        """List the numbers of all issues with the incident label, open or closed, oldest first."""
        rows = self._list_rows("/issues", {"labels": label, "state": "all", "sort": "created", "direction": "asc"})
        return [row["number"] for row in rows if "pull_request" not in row]

    def incidents_since(self, label: str, since: datetime) -> list[Mapping[str, Any]]:
        """List the issues with the incident label that were updated since then, newest update first."""
        timestamp = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        params = {"labels": label, "state": "all", "since": timestamp, "sort": "updated", "direction": "desc"}
        return [row for row in self._list_rows("/issues", params) if "pull_request" not in row]

    def updated_since(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        """Yield all issues and pull requests that were updated since then, oldest update first."""
        params: dict[str, str | int] = {"state": "all", "sort": "updated", "direction": "asc"}
        seen: set[int] = set()
        while True:
            rows = self._list_rows("/issues", {**params, "since": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")})
            fresh = [row for row in rows if row["number"] not in seen]
            seen.update(row["number"] for row in fresh)
            yield from fresh
            # A list ends after MAX_PAGES pages even if there is more.
            if not fresh or len(rows) < MAX_PAGES * 100:
                return
            since = parse_time(str(fresh[-1]["updated_at"]))

    def open_incidents(self, label: str) -> list[Mapping[str, Any]]:
        """List the open issues with the incident label, oldest first."""
        rows = self._list_rows("/issues", {"labels": label, "state": "open", "sort": "created", "direction": "asc"})
        return [row for row in rows if "pull_request" not in row]

    def closed_incidents(self, labels: tuple[str, ...]) -> list[Mapping[str, Any]]:
        """List the closed issues that have all of the labels, newest update first."""
        params = {"labels": ",".join(labels), "state": "closed", "sort": "updated", "direction": "desc"}
        return [row for row in self._list_rows("/issues", params) if "pull_request" not in row]

    def newest_comments(self) -> list[Comment]:
        """Fetch the 100 newest comments of the repository, newest first."""
        params: dict[str, str | int] = {"sort": "created", "direction": "desc", "per_page": 100}
        return [comment_from(row) for row in self._call("GET", "/issues/comments", params=params)]

    def comments_by_update(self) -> Iterator[Comment]:
        """Yield the repository's comments, newest update first, fetching pages as they are consumed."""
        params = {"sort": "updated", "direction": "desc"}
        found = self.directory.present(self.repository)
        pages = self.client.list_rows(found.installation, api_path(found, "/issues/comments"), params)
        return (comment_from(row) for row in pages)

    def lock(self, number: int) -> IssueLock:
        """Acquire the issue's lock by adding our reaction, or return the lock that exists already."""
        answer = self._request("POST", f"/issues/{number}/reactions", {"content": _LOCK_REACTION})
        return IssueLock(answer.body["id"], parse_time(answer.body["created_at"]), acquired=answer.status == 201)

    def unlock(self, number: int, lock_id: int) -> None:
        """Release the issue's lock; does nothing if it no longer exists."""
        with suppress(NotFound):
            self._call("DELETE", f"/issues/{number}/reactions/{lock_id}")

    def commits_of(self, path: str) -> list[str]:
        """List the newest commits of the default branch that changed the file, newest first, at most thirty."""
        params = {"path": path, "sha": self.repository.default_branch}
        return [str(row["sha"]) for row in self._call("GET", "/commits", params=params)]

    def permission(self, login: str) -> Role:
        """Return the user's role in the repository; Role.NONE for a user that GitHub does not know."""
        try:
            found = self._call("GET", f"/collaborators/{quote(login, safe='')}/permission")
        except NotFound:
            return Role.NONE
        name = str(found.get("role_name") or found.get("permission") or "none")
        return _ROLES.get(name) or _ROLES.get(str(found.get("permission")), Role.NONE)

    def policy(self, etag: str) -> PolicyFile:
        """Fetch the repository's policy file unless it still matches the etag."""
        return self._fetch_policy(etag, organisation=False)

    def organisation_policy(self, etag: str) -> PolicyFile:
        """Fetch the organisation's policy file; a file that we may not read counts as none."""
        try:
            return self._fetch_policy(etag, organisation=True)
        except DeliveryFailed as failed:
            if failed.refusal is None or etag:
                raise  # it was read before, so a refusal may pass
            return PolicyFile(None, "")

    def feed(self, path: str, etag: str, *, organisation: bool) -> CalendarFile:
        """Fetch a calendar file of this repository, or of the organisation's `.github`.

        Raises DeliveryFailed if the path is invalid or the file larger than a mebibyte.
        """
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise DeliveryFailed("it is not a path in a repository, such as rotas/on-call.ics", retry_after=None)
        try:
            answer = self._fetch_content(path, etag, organisation=organisation)
        except NotFound:
            return CalendarFile(None, "")
        if answer.not_modified:
            return CalendarFile(None, etag, unchanged=True)
        body = answer.body
        if not isinstance(body, dict) or body.get("type") != "file":
            return CalendarFile(None, "")
        if body.get("encoding") != "base64" or int(body.get("size") or 0) > _MAX_FEED_BYTES:
            raise DeliveryFailed(f"it is larger than {_MAX_FEED_BYTES} bytes", retry_after=None)
        return CalendarFile(base64.b64decode(body.get("content") or ""), answer.headers.get("etag", ""))

    def _fetch_policy(self, etag: str, *, organisation: bool) -> PolicyFile:
        try:
            answer = self._fetch_content(POLICY_PATH, etag, organisation=organisation)
        except NotFound:
            return PolicyFile(None, "")
        if answer.not_modified:
            return PolicyFile(None, etag, unchanged=True)
        return PolicyFile(_file_text(answer.body), answer.headers.get("etag", ""))

    def _fetch_content(self, path: str, etag: str, *, organisation: bool) -> ApiResponse:
        """Fetch a file of this repository, or of its organisation's `.github`.  Raises NotFound."""
        if organisation:
            return self._call_installation(lambda found: self._fetch_organisation_content(found, path, etag))
        return self._call_installation(
            lambda found: self.client.call(
                found.installation, "GET", api_path(found, f"/contents/{quote(path)}"), etag=etag
            )
        )

    def _fetch_organisation_content(self, repository: Repository, path: str, etag: str) -> ApiResponse:
        """Fetch a file of the organisation's `.github`, whose owner is known by name alone.

        A former name of the organisation may be a stranger's by now, so any news from there counts only if the owner
        of our repository still has that name.
        """

        def fetch(named: Repository, etag: str) -> ApiResponse:
            owner = named.name.partition("/")[0]
            path_of_file = f"/repos/{owner}/.github/contents/{quote(path)}"
            return self.client.call(repository.installation, "GET", path_of_file, etag=etag)

        answer, missing = None, NotFound("")
        try:
            answer = fetch(repository, etag)
        except NotFound as failed:
            missing = failed
        if answer is None or (not answer.not_modified and isinstance(answer.body, dict) and answer.body.get("content")):
            present = self.directory.fetch_present_state(repository)
            if present.name.partition("/")[0].lower() != repository.name.partition("/")[0].lower():
                return fetch(present, "")
        if answer is None:
            raise missing
        return answer

    def file(self, path: str, ref: str) -> str | None:
        """Fetch the text of a file at a commit or branch; None if there is none."""
        try:
            return _file_text(self._call("GET", f"/contents/{quote(path)}", params={"ref": ref}))
        except NotFound:
            return None

    def file_change(self, pull: int, path: str) -> FileChange:
        """Return what the pull request does to the file; a renamed file counts as removed from its old path."""
        rows = self._list_rows(f"/pulls/{pull}/files")
        if row := next((row for row in rows if row.get("filename") == path), None):
            return "removed" if row.get("status") == "removed" else "written"
        return "removed" if any(row.get("previous_filename") == path for row in rows) else "none"

    def check(self, check: CheckRun) -> None:
        """Create our check run on its commit, or complete an unfinished one from an earlier attempt."""
        existing = self._existing_check(check)
        if existing is not None and existing.get("status") == "completed":
            return
        annotations = [_annotation_json(one) for one in check.annotations]
        run, sent = (
            (existing["id"], int(existing["output"]["annotations_count"])) if existing is not None else (None, 0)
        )
        while True:
            part, sent = annotations[sent : sent + _MAX_ANNOTATIONS_PER_REQUEST], sent + _MAX_ANNOTATIONS_PER_REQUEST
            body = _check_body(check, part, last=sent >= len(annotations))
            if run is None:
                run = self._call("POST", "/check-runs", {"name": check.name, "head_sha": check.sha, **body})["id"]
            else:
                self._call("PATCH", f"/check-runs/{run}", body)
            if sent >= len(annotations):
                return

    def _existing_check(self, check: CheckRun) -> Mapping[str, Any] | None:
        """Return the newest check run of that name by this App on that commit; None if there is none."""
        params: dict[str, str | int] = {"check_name": check.name, "app_id": self.client.app_id, "filter": "all"}
        rows = self._list_rows(f"/commits/{check.sha}/check-runs", params, key="check_runs")
        ours = [row for row in rows if (row.get("app") or {}).get("id") == self.client.app_id]
        return max(ours, key=lambda row: int(row["id"]), default=None)

    def set_labels(self, number: int, add: frozenset[str], remove: frozenset[str]) -> LabelState | None:
        """Add and remove labels, and return the labels afterwards; None if there was nothing to change."""
        labels, answer = f"/issues/{number}/labels", None
        if add:
            answer = self._request("POST", labels, {"labels": sorted(add)})
        for label in sorted(remove):
            try:
                answer = self._request("DELETE", f"{labels}/{quote(label, safe='')}")
            except NotFound as gone:
                if "label does not exist" not in str(gone).lower():
                    raise
                answer = None
        if answer is None and (add or remove):
            answer = self._request("GET", labels)
        return (
            LabelState(labels_of({"labels": answer.body}), self._response_time(answer)) if answer is not None else None
        )

    def comment(self, number: int, body: str) -> Comment:
        """Post a comment on an issue."""
        return comment_from(self._call("POST", f"/issues/{number}/comments", {"body": body}))

    def edit_comment(self, comment: int, body: str) -> None:
        """Replace the text of a comment.  Raises NotFound if it was deleted."""
        self._call("PATCH", f"/issues/comments/{comment}", {"body": body})

    def react(self, comment: int) -> None:
        """Add a thumbs-up reaction to a comment."""
        self._call("POST", f"/issues/comments/{comment}/reactions", {"content": "+1"})

    def assign(self, number: int, login: str) -> None:
        """Assign a user to an issue."""
        self._call("POST", f"/issues/{number}/assignees", {"assignees": [login]})

    def pull_of(self, branches: tuple[str, ...]) -> PullRequest | None:
        """Return the pull request of the first of those branches that has any; None if there is none.

        That is the first one merged, since what was merged stays merged, else the newest one in any state.
        """
        listed = (self._pulls_of(branch, self.repository.name) for branch in branches)
        return _choose_pull(next((rows for rows in listed if rows), []))

    def _pulls_of(self, branch: str, name: str) -> list[Mapping[str, Any]]:
        listed = self._list_rows("/pulls", {"head": f"{name.partition('/')[0]}:{branch}", "state": "all"})
        # The owner's name may be somebody else's by now, who may have a fork with a branch of that name.
        return [row for row in listed if _is_head_in(row, self.repository.id)]

    def open_pull_request(self, file: NewFile) -> PullRequest:
        """Open a pull request that adds the file.

        Each step tolerates that an earlier attempt has done it, so repeating the call is safe.
        """
        base = self.repository.default_branch
        head = self._call("GET", f"/git/ref/heads/{quote(base, safe='/')}")["object"]["sha"]
        branch = self._create_branch(file.branches, head)
        self._write_file(file, branch)
        return self._create_pull_request(file, branch, base)

    def ask_review(self, pull: int, reviewers: tuple[str, ...]) -> None:
        """Request reviews, skipping users who cannot review.

        GitHub refuses the whole list if one of them cannot, so each is requested alone then.  A review is optional:
        this raises Deferred and nothing else.
        """
        if not reviewers:
            return
        try:
            self._call("POST", f"/pulls/{pull}/requested_reviewers", {"reviewers": list(reviewers)})
        except Deferred:
            raise
        except DeliveryFailed as failed:
            if failed.refusal is None or len(reviewers) == 1:
                return
            for reviewer in reviewers:
                self.ask_review(pull, (reviewer,))

    def _create_branch(self, branches: tuple[str, ...], sha: str) -> str:
        """Create the first of the branches that can be, unless it exists, and return its name.

        A branch cannot lie below another one: `muster/x` cannot be created while there is a branch `muster`.
        """
        branch, *others = branches
        try:
            self._call("POST", "/git/refs", {"ref": f"refs/heads/{branch}", "sha": sha})
        except DeliveryFailed as failed:
            if others and _REFERENCE_CONFLICT in str(failed).lower():
                return self._create_branch(tuple(others), sha)
            if "already exists" not in str(failed):
                raise
        return branch

    def _write_file(self, file: NewFile, branch: str) -> None:
        content = base64.b64encode(file.text.encode()).decode()
        try:
            self._call(
                "PUT",
                f"/contents/{quote(file.path)}",
                {"message": file.message, "content": content, "branch": branch},
            )
        except DeliveryFailed as failed:
            # Without a sha GitHub refuses to overwrite a file: an earlier attempt has written it already.
            if "sha" not in str(failed):
                raise

    def _create_pull_request(self, file: NewFile, branch: str, base: str) -> PullRequest:
        try:
            return pull_from(
                self._call("POST", "/pulls", {"title": file.title, "body": file.body, "head": branch, "base": base})
            )
        except DeliveryFailed as failed:
            if failed.refusal is None:
                raise
            existing = self.pull_of(file.branches)
            if existing is None:
                renamed = self._call_installation(self.directory.fetch_present_state)
                if renamed.name != self.repository.name:
                    existing = _choose_pull(self._pulls_of(branch, renamed.name))
            if existing is None:
                raise
            return existing

    def _call(
        self,
        method: str,
        path: str,
        json: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
    ) -> Any:
        return self._request(method, path, json, params=params).body

    def _request(
        self,
        method: str,
        path: str,
        json: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
    ) -> ApiResponse:
        def send(found: Repository) -> ApiResponse:
            if method != "GET":
                self.guard()
            return self.client.call(found.installation, method, api_path(found, path), json=json, params=params)

        return self._call_installation(send)

    def _response_time(self, answer: ApiResponse) -> datetime:
        """Return when GitHub answered: by its clock to the second, or by ours if the header is missing."""
        try:
            return parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
        except (KeyError, ValueError):
            return self.client.now

    def _list_rows(self, path: str, params: Mapping[str, str | int] | None = None, *, key: str = "") -> list[Any]:
        return self._call_installation(
            lambda found: list(self.client.list_rows(found.installation, api_path(found, path), params, key=key))
        )

    def _call_installation(self, send: Callable[[Repository], _T]) -> _T:
        """Call `send` with the repository and, if its installation is gone, once more with the one that it has now."""
        found = self.directory.present(self.repository)
        try:
            return send(found)
        except InstallationGone:
            located = self.directory.find_replacement(found)
            if located is None:
                raise
        return send(located)


_ROLES = {
    "read": Role.READ,
    "triage": Role.TRIAGE,
    "write": Role.WRITE,
    "maintain": Role.MAINTAIN,
    "admin": Role.ADMIN,
    "none": Role.NONE,
}


def comment_from(row: Mapping[str, Any]) -> Comment:
    """Parse a comment of GitHub's REST API or timeline."""
    user = row.get("user") or {}
    app = row.get("performed_via_github_app") or {}
    reactions = row.get("reactions") or {}
    return Comment(
        id=row["id"],
        url=row.get("html_url") or "",
        author=str(user.get("login") or "ghost"),
        bot=user.get("type") == "Bot",
        app_id=app.get("id"),
        body=replace_unstorable(row.get("body") or ""),
        created_at=parse_time(row["created_at"]),
        reactions=int(reactions.get("+1") or 0),
        updated_at=parse_time(row["updated_at"]) if row.get("updated_at") else None,
        issue=_issue_number_of(row.get("issue_url")),
    )


def _issue_number_of(url: object) -> int:
    """Return the issue number in an API URL; 0 if there is none."""
    number = str(url or "").rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


def _is_head_in(row: Mapping[str, Any], repository_id: int) -> bool:
    """Return True if the branch of a pull request is in that repository, and not in a fork."""
    head_repository = (row.get("head") or {}).get("repo") or {}
    return not repository_id or head_repository.get("id") == repository_id


def _choose_pull(rows: Sequence[Mapping[str, Any]]) -> PullRequest | None:
    if merged := [row for row in rows if row.get("merged_at")]:
        return pull_from(min(merged, key=lambda row: row["merged_at"]))
    return pull_from(max(rows, key=lambda row: row["number"])) if rows else None


def pull_from(row: Mapping[str, Any]) -> PullRequest:
    """Parse a pull request of GitHub's REST API."""
    state = "merged" if row.get("merged_at") else "open" if row["state"] == "open" else "dropped"
    return PullRequest(
        number=row["number"],
        url=row.get("html_url") or "",
        state=state,
        created_at=parse_time(row["created_at"]),
        by=str((row.get("user") or {}).get("login") or ""),
    )


def _annotation_json(annotation: Annotation) -> dict[str, Any]:
    return {
        "path": annotation.path,
        "start_line": annotation.line,
        "end_line": annotation.line,
        "start_column": annotation.column,
        "end_column": annotation.column,
        "annotation_level": "failure",
        "title": annotation.title[:255],
        "message": annotation.message,
    }


def _check_body(check: CheckRun, annotations: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
    """Build one request of a check run.  GitHub adds its annotations to the ones it already has."""
    output = {"title": check.title[:255], "summary": check.summary[:_MAX_SUMMARY_CHARS]}
    conclusion = "success" if check.success else "failure"
    state = {"status": "completed", "conclusion": conclusion} if last else {"status": "in_progress"}
    return {
        **({"status": "queued"} if check.is_waiting else state),
        "output": {**output, "annotations": annotations} if annotations else output,
    }


def labels_of(issue: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the issue's labels."""
    return frozenset(
        replace_unstorable(str(label.get("name") or ""))
        for label in issue.get("labels") or ()
        if isinstance(label, dict)
    )


def parse_time(text: str) -> datetime:
    """Parse a time of GitHub's into aware UTC.  Raises ValueError if it is none, or has no zone."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"'{text[:40]}' has no zone")
    return parsed.astimezone(UTC)


def _file_text(body: Any) -> str | None:
    """Return the text of a file; None if it is none, such as a folder or a link.

    Too large a file is cut just above the limit, so that its reader refuses it.
    """
    if not isinstance(body, dict) or body.get("type") != "file":
        return None
    if body.get("encoding") == "none":  # above one megabyte GitHub returns no content
        return "#" * (_MAX_POLICY_BYTES + 1)
    if body.get("encoding") != "base64":
        return None
    raw = base64.b64decode(body.get("content") or "")
    return raw[: _MAX_POLICY_BYTES + 1].decode("utf-8", "replace")
