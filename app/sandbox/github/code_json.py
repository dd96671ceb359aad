"""GitHub's JSON for files, commits, pull requests and check runs."""

from __future__ import annotations

import base64
import difflib
from typing import Any
from urllib.parse import quote

from app.sandbox.github.account_json import Json, format_optional_time, format_time, node_id
from app.sandbox.github.git import Commit, Entry, Signature
from app.sandbox.github.issue_json import IssueSerializer
from app.sandbox.github.world import CheckRun, Issue, PullRequest, Repository

MAX_INLINE_BYTES = 1_000_000


def quote_path(path: str) -> str:
    """Percent-encode a path for a URL and keep its slashes."""
    return quote(path.encode("utf-8", "replace"), safe="/")


class CodeSerializer(IssueSerializer):
    """Serializes everything that is based on git."""

    def ref(self, repository: Repository, name: str) -> Json:
        """Return the JSON of a git ref."""
        sha = repository.git.refs[name]
        api = self.repo_url(repository)
        return {
            "ref": name,
            "node_id": node_id("REF", int(sha[:8], 16)),
            "url": f"{api}/git/{quote_path(name)}",
            "object": {"sha": sha, "type": "commit", "url": f"{api}/git/commits/{sha}"},
        }

    def signature(self, signature: Signature) -> Json:
        """Return the JSON of an author or committer."""
        return {"name": signature.name, "email": signature.email, "date": format_time(signature.at)}

    def git_commit(self, repository: Repository, commit: Commit) -> Json:
        """Return the JSON of a commit as the git database API gives it."""
        api, page = self.repo_url(repository), self.repo_page(repository)
        return {
            "sha": commit.sha,
            "node_id": node_id("C", int(commit.sha[:8], 16)),
            "url": f"{api}/git/commits/{commit.sha}",
            "html_url": f"{page}/commit/{commit.sha}",
            "author": self.signature(commit.author),
            "committer": self.signature(commit.committer),
            "tree": {"sha": commit.tree, "url": f"{api}/git/trees/{commit.tree}"},
            "message": commit.message,
            "parents": self._parents(repository, commit, "git/commits"),
            "verification": _unsigned_verification(),
        }

    def commit(self, repository: Repository, commit: Commit, account: Json | None) -> Json:
        """Return the JSON of a commit as the commits API lists it."""
        api = self.repo_url(repository)
        inner = self.git_commit(repository, commit)
        keep = ("author", "committer", "message", "tree", "url", "verification")
        return {
            "sha": commit.sha,
            "node_id": inner["node_id"],
            "commit": {**{key: inner[key] for key in keep}, "comment_count": 0},
            "url": f"{api}/commits/{commit.sha}",
            "html_url": inner["html_url"],
            "comments_url": f"{api}/commits/{commit.sha}/comments",
            "author": account,
            "committer": account,
            "parents": self._parents(repository, commit, "commits"),
        }

    def tree(self, repository: Repository, sha: str) -> Json:
        """Return the JSON of a tree with its direct entries."""
        api = self.repo_url(repository)
        entries = []
        for name, entry in repository.git.trees[sha].items():
            kind = "tree" if entry.is_folder else "blob"
            line: Json = {
                "path": name,
                "mode": entry.mode.zfill(6),
                "type": kind,
                "sha": entry.sha,
                "url": f"{api}/git/{kind}s/{entry.sha}",
            }
            if kind == "blob":
                line["size"] = len(repository.git.blobs.get(entry.sha, b""))
            entries.append(line)
        return {"sha": sha, "url": f"{api}/git/trees/{sha}", "tree": entries, "truncated": False}

    def content(self, repository: Repository, path: str, entry: Entry, ref: str, full: bool = True) -> Json:
        """Return the JSON of a file or folder; `full` adds the content of a file."""
        api, page, at = self.repo_url(repository), self.repo_page(repository), quote_path(path)
        kind = "dir" if entry.is_folder else "file"
        own = f"{api}/contents/{at}?ref={quote(ref, safe='')}"
        git = f"{api}/git/{'trees' if entry.is_folder else 'blobs'}/{entry.sha}"
        html = f"{page}/{'tree' if entry.is_folder else 'blob'}/{quote_path(ref)}/{at}"
        blob = b"" if entry.is_folder else repository.git.blobs[entry.sha]
        shape: Json = {
            "name": path.rpartition("/")[2],
            "path": path,
            "sha": entry.sha,
            "size": len(blob),
            "url": own,
            "html_url": html,
            "git_url": git,
            "download_url": None if entry.is_folder else f"{page}/raw/{quote_path(ref)}/{at}",
            "type": kind,
            "_links": {"self": own, "git": git, "html": html},
        }
        if full and kind == "file":
            big = len(blob) > MAX_INLINE_BYTES
            shape["encoding"] = "none" if big else "base64"
            shape["content"] = "" if big else base64.encodebytes(blob).decode()
        return shape

    def push_commit(self, repository: Repository, commit: Commit) -> Json:
        """Return the JSON of a commit in a `push` payload."""
        git = repository.git
        before = git.commits[commit.parents[0]].tree if commit.parents else None
        changed: dict[str, list[str]] = {"added": [], "removed": [], "modified": []}
        if before is None:
            changed["added"] = [path for path, _ in git.files(commit.tree)]
        else:
            for path, change, _ in git.compare(before, commit.tree):
                changed[change].append(path)
        person = {"name": commit.author.name, "email": commit.author.email, "username": commit.account}
        return {
            "id": commit.sha,
            "tree_id": commit.tree,
            "distinct": True,
            "message": commit.message,
            "timestamp": format_time(commit.author.at),
            "url": f"{self.repo_page(repository)}/commit/{commit.sha}",
            "author": person,
            "committer": person,
            **changed,
        }

    def _head_or_base(self, repository: Repository, branch: str, sha: str) -> Json:
        owner = repository.owner
        return {
            "label": f"{owner.login}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": self.account(owner),
            "repo": self.repository(repository),
        }

    def pull_brief(self, issue: Issue) -> Json:
        """Return the JSON of a pull request as lists contain it."""
        pull, repository = _require_pull(issue), issue.repository
        api, page = f"{self.repo_url(repository)}/pulls/{issue.number}", self.issue_page(issue)
        conversation = f"{self.repo_url(repository)}/issues/{issue.number}"
        base = self.issue(issue)
        statuses = f"{self.repo_url(repository)}/statuses/{pull.head_sha}"
        same = (
            "number", "state", "locked", "title", "user", "body", "labels", "milestone", "active_lock_reason",
            "created_at", "updated_at", "closed_at", "assignee", "assignees", "author_association", "id", "node_id",
        )  # fmt: skip
        links = {
            "self": api,
            "html": page,
            "issue": conversation,
            "comments": f"{conversation}/comments",
            "review_comments": f"{api}/comments",
            "review_comment": f"{self.repo_url(repository)}/pulls/comments{{/number}}",
            "commits": f"{api}/commits",
            "statuses": statuses,
        }
        return {
            **{key: base[key] for key in same},
            "url": api,
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "issue_url": conversation,
            "commits_url": links["commits"],
            "review_comments_url": links["review_comments"],
            "review_comment_url": links["review_comment"],
            "comments_url": links["comments"],
            "statuses_url": statuses,
            "merged_at": format_optional_time(pull.merged_at),
            "merge_commit_sha": pull.merge_sha,
            "requested_reviewers": [self.account(account) for account in pull.reviewers],
            "requested_teams": [self.team(team) for team in pull.team_reviewers],
            "head": self._head_or_base(pull.fork or repository, pull.head, pull.head_sha),
            "base": self._head_or_base(repository, pull.base, pull.base_sha),
            "_links": {name: {"href": address} for name, address in links.items()},
            "auto_merge": None,
            "draft": pull.draft,
        }

    def pull(self, issue: Issue) -> Json:
        """Return the full JSON of a pull request."""
        pull = _require_pull(issue)
        files = self.pull_files(issue)
        git = issue.repository.git
        merged = pull.merged_at is not None
        mergeable = issue.state == "open" or None
        return {
            **self.pull_brief(issue),
            "merged": merged,
            "mergeable": mergeable,
            "rebaseable": mergeable,
            "mergeable_state": "clean" if mergeable else "unknown",
            "merged_by": self.account(pull.merged_by) if pull.merged_by else None,
            "comments": len(issue.comments_by_id),
            "review_comments": 0,
            "maintainer_can_modify": pull.maintainer_can_modify,
            "commits": sum(1 for _ in git.commits_between(pull.base_sha, pull.head_sha)),
            "additions": sum(file["additions"] for file in files),
            "deletions": sum(file["deletions"] for file in files),
            "changed_files": len(files),
        }

    def pull_files(self, issue: Issue) -> list[Json]:
        """Return the changed files of a pull request, compared with its merge base."""
        pull, repository = _require_pull(issue), issue.repository
        git, api, page = repository.git, self.repo_url(repository), self.repo_page(repository)
        base = git.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
        before, after = git.commits[base].tree, git.commits[pull.head_sha].tree
        files = []
        for path, change, entry in git.compare(before, after):
            was = git.find_entry(before, path) if change != "added" else None
            now = entry if change != "removed" else None
            patch, additions, deletions = _make_patch(
                git.blobs[was.sha] if was else b"", git.blobs[now.sha] if now else b""
            )
            at = quote_path(path)
            files.append(
                {
                    "sha": entry.sha,
                    "filename": path,
                    "status": change,
                    "additions": additions,
                    "deletions": deletions,
                    "changes": additions + deletions,
                    "blob_url": f"{page}/blob/{pull.head_sha}/{at}",
                    "raw_url": f"{page}/raw/{pull.head_sha}/{at}",
                    "contents_url": f"{api}/contents/{at}?ref={pull.head_sha}",
                    "patch": patch,
                }
            )
        return files

    def check_run(self, repository: Repository, run: CheckRun) -> Json:
        """Return the JSON of a check run."""
        api = f"{self.repo_url(repository)}/check-runs/{run.id}"
        page = f"{self.repo_page(repository)}/runs/{run.id}"
        output: dict[str, Any] = dict.fromkeys(("title", "summary", "text"))
        output.update({key: value for key, value in run.output.items() if key in output})
        return {
            "id": run.id,
            "name": run.name,
            "node_id": node_id("CR", run.id),
            "head_sha": run.head_sha,
            "external_id": run.external_id,
            "url": api,
            "html_url": page,
            "details_url": run.details_url or page,
            "status": run.status,
            "conclusion": run.conclusion,
            "started_at": run.started_at,
            "completed_at": run.completed_at,
            "output": {
                **output,
                "annotations_count": len(run.annotations),
                "annotations_url": f"{api}/annotations",
            },
            "check_suite": {"id": run.id},
            "app": self.app(),
            "pull_requests": [],
        }

    def _parents(self, repository: Repository, commit: Commit, kind: str) -> list[Json]:
        api, page = self.repo_url(repository), self.repo_page(repository)
        return [
            {"sha": sha, "url": f"{api}/{kind}/{sha}", "html_url": f"{page}/commit/{sha}"} for sha in commit.parents
        ]


def _unsigned_verification() -> Json:
    return {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}


def _require_pull(issue: Issue) -> PullRequest:
    if issue.pull is None:
        raise ValueError(f"#{issue.number} is no pull request")
    return issue.pull


def _make_patch(before: bytes, after: bytes) -> tuple[str, int, int]:
    old, new = before.decode("utf-8", "replace").splitlines(), after.decode("utf-8", "replace").splitlines()
    lines = list(difflib.unified_diff(old, new, lineterm=""))[2:]
    plus = sum(line.startswith("+") for line in lines)
    minus = sum(line.startswith("-") for line in lines)
    return "\n".join(lines), plus, minus
