"""Changes to refs, files, pull requests and check runs, each with its webhook."""

from __future__ import annotations

import itertools
import re
from typing import Any

from app.sandbox.github.context import check_body, check_title
from app.sandbox.github.errors import ApiError, invalid_field, not_found
from app.sandbox.github.git import EMPTY_TREE_SHA, FILE_MODE, ZERO_SHA, Commit, Entry, Signature, is_ref_name
from app.sandbox.github.issue_changes import IssueChanges
from app.sandbox.github.world import Account, Actor, CheckRun, Issue, PullRequest, Repository

CLOSING_KEYWORD = re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+#(\d{1,9})\b", re.IGNORECASE)
MAX_PUSH_COMMITS = 20


class Changes(IssueChanges):
    """All changes to the world: those of `IssueChanges` and those to code."""

    def signature(self, account: Account) -> Signature:
        """Return the signature that GitHub puts on a commit made on its site."""
        email = f"{account.id}+{account.login}@users.noreply.github.com"
        return Signature(account.name or account.login, email, self.now())

    def commit_file(
        self,
        repository: Repository,
        actor: Actor,
        path: str,
        content: bytes | None,
        message: str,
        branch: str | None = None,
        author: Signature | None = None,
        committer: Signature | None = None,
    ) -> Commit:
        """Commit one file; `content` None removes it.

        In an empty repository this makes the first commit. Raises ApiError 404 for an unknown branch.
        """
        git = repository.git
        ref = f"refs/heads/{branch or repository.default_branch}"
        parent = git.refs.get(ref)
        if parent is None and git.refs:
            raise ApiError(404, f"Branch {branch} not found")
        entry = None if content is None else Entry(FILE_MODE, git.add_blob(content))
        tree = git.write_entry(git.commits[parent].tree if parent else EMPTY_TREE_SHA, path, entry)
        commit = git.add_commit(
            tree,
            (parent,) if parent else (),
            message,
            author or self.signature(actor.account),
            committer or author,
            actor.account.login,
        )
        self.move_ref(repository, actor, ref, commit.sha)
        return commit

    def move_ref(self, repository: Repository, actor: Actor, ref: str, sha: str | None) -> None:
        """Create, move or (`sha` None) delete a ref, send `push` and update open pull requests."""
        git = repository.git
        before = git.refs.get(ref)
        if before == sha:
            return
        if sha is None:
            del git.refs[ref]
        else:
            git.refs[ref] = sha
        repository.pushed_at = self.now()
        self._send_push_event(repository, actor, ref, before, sha)
        branch = ref.removeprefix("refs/heads/")
        for issue in self._open_pulls_at(repository):
            pull = _require_pull(issue)
            is_head = pull.head == branch and (pull.fork or issue.repository) is repository
            if not is_head and (pull.base != branch or issue.repository is not repository):
                continue
            if sha is None:
                self.close(issue, actor)
            elif is_head:
                old, pull.head_sha = pull.head_sha, sha
                issue.updated_at = self.now()
                self.send_issue_event(issue, "synchronize", actor, before=old, after=sha)
            else:
                pull.base_sha = sha

    def _open_pulls_at(self, repository: Repository) -> list[Issue]:
        """Return the open pull requests of a repository, including those from it to its parent."""
        above = repository.parent.open_pulls.values() if repository.parent else ()
        return [*repository.open_pulls.values(), *above]

    def create_ref(self, repository: Repository, actor: Actor, ref: str, sha: str) -> None:
        """Create a ref. Raises ApiError 409 for an empty repository and 422 for an invalid name or object."""
        if not repository.git.refs:
            raise ApiError(409, "Git Repository is empty.")
        if not ref.startswith("refs/") or ref.count("/") < 2:
            raise ApiError(422, "Reference name must start with 'refs/' and contain at least two slashes.")
        if not is_ref_name(ref):
            raise ApiError(422, f"{ref} is not a valid ref name.")
        if ref in repository.git.refs:
            raise ApiError(422, "Reference already exists")
        if any(known.startswith(f"{ref}/") or ref.startswith(f"{known}/") for known in repository.git.refs):
            raise ApiError(422, "Reference update failed")
        if sha not in repository.git.commits:
            raise ApiError(422, "Object does not exist")
        self.move_ref(repository, actor, ref, sha)

    def update_ref(self, repository: Repository, actor: Actor, ref: str, sha: str, force: bool) -> None:
        """Move an existing ref. Raises ApiError 422 unless it is a fast forward or `force` is set."""
        git = repository.git
        if ref not in git.refs:
            raise ApiError(422, "Reference does not exist")
        if sha not in git.commits:
            raise ApiError(422, "Object does not exist")
        if not force and not git.is_ancestor(git.refs[ref], sha):
            raise ApiError(422, "Update is not a fast forward")
        self.move_ref(repository, actor, ref, sha)

    def open_pull(
        self,
        repository: Repository,
        actor: Actor,
        title: str,
        head: str,
        base: str,
        body: str | None = None,
        draft: bool = False,
        maintainer_can_modify: bool = False,
    ) -> Issue:
        """Open a pull request.

        `head` is a branch of the same repository, bare or as owner:branch, or a branch of a fork, as owner:branch.
        Raises ApiError 422.
        """
        check_title(title, "PullRequest")
        check_body(body, "PullRequest")
        owner, _, branch = head.rpartition(":")
        source = self._find_head_repository(repository, owner)
        refs, git = repository.git.refs, repository.git
        if source is None or f"refs/heads/{branch}" not in source.git.refs:
            raise invalid_field("PullRequest", "head")
        if f"refs/heads/{base}" not in refs:
            raise invalid_field("PullRequest", "base")
        fork = None if source is repository else source
        head_sha, base_sha = source.git.refs[f"refs/heads/{branch}"], refs[f"refs/heads/{base}"]
        for other in repository.open_pulls.values():
            if other.pull and (other.pull.fork, other.pull.head, other.pull.base) == (fork, branch, base):
                raise _custom_error(f"A pull request already exists for {source.owner.login}:{branch}.")
        if git.is_ancestor(head_sha, base_sha):
            raise _custom_error(f"No commits between {base} and {branch}")
        issue = self._create_issue(repository, actor, title, body)
        issue.pull = PullRequest(
            branch, head_sha, base, base_sha, draft=draft, maintainer_can_modify=maintainer_can_modify, fork=fork
        )
        repository.pulls_by_number[issue.number] = issue
        repository.open_pulls[issue.number] = issue
        self.send_issue_event(issue, "opened", actor)
        self.add_cross_references(issue, body, actor)
        return issue

    def _find_head_repository(self, repository: Repository, owner: str) -> Repository | None:
        """Return the repository or fork that belongs to the owner named before the head, if any."""
        if owner.lower() in ("", repository.owner.login.lower()):
            return repository
        forks = (one for one in self.world.repositories.values() if one.parent is repository)
        return next((fork for fork in forks if fork.owner.login.lower() == owner.lower()), None)

    def fork(self, repository: Repository, actor: Actor) -> Repository:
        """Fork a repository under the actor's account: shared objects, separate branches."""
        key = f"{actor.account.login}/{repository.name}".lower()
        if key in self.world.repositories:
            raise ApiError(403, "Already forked")
        fork = Repository(
            self.world.new_id(), actor.account, repository.name, repository.private, repository.description, self.now()
        )
        fork.default_branch, fork.git, fork.parent = repository.default_branch, repository.git.fork(), repository
        self.world.repositories[key] = fork
        return fork

    def retarget(self, issue: Issue, actor: Actor, base: str) -> None:
        """Change the base branch of a pull request."""
        pull, refs = _require_pull(issue), issue.repository.git.refs
        if f"refs/heads/{base}" not in refs:
            raise invalid_field("PullRequest", "base")
        if base != pull.base:
            changes = {"base": {"ref": {"from": pull.base}, "sha": {"from": pull.base_sha}}}
            pull.base, pull.base_sha = base, refs[f"refs/heads/{base}"]
            self.add_timeline_event(issue, "base_ref_changed", actor)
            self.send_issue_event(issue, "edited", actor, changes=changes)

    def request_reviewers(self, issue: Issue, actor: Actor, logins: list[str], teams: list[str]) -> None:
        """Request reviews from people and teams. Raises ApiError 422 if one of them cannot review."""
        pull, repository = _require_pull(issue), issue.repository
        found = [self.world.accounts.get(login.lower()) for login in logins]
        for account in found:
            if account is None or not self._assignable_accounts(repository, [account.login]):
                where = repository.full_name
                raise ApiError(
                    422,
                    "Reviews may only be requested from collaborators. "
                    f"One or more of the users or teams you specified is not a collaborator of the {where} repository.",
                )
            if account is issue.author:
                raise ApiError(422, "Review cannot be requested from pull request author.")
        named = [self.world.teams.get((repository.owner.login.lower(), slug.lower())) for slug in teams]
        for team in named:
            if team is None:
                raise ApiError(422, "Could not resolve to a node with the global id of the team.")
            if team not in pull.team_reviewers:
                pull.team_reviewers.append(team)
        for account in found:
            if account is not None and account not in pull.reviewers:
                pull.reviewers.append(account)
                self.add_timeline_event(issue, "review_requested", actor, reviewer=account)
                shape = self.serializer.account(account)
                self.send_issue_event(issue, "review_requested", actor, requested_reviewer=shape)

    def merge(self, issue: Issue, actor: Actor) -> str:
        """Merge a pull request with a merge commit and return that commit's sha.

        Issues that its description closes are closed when the base is the default branch.
        """
        pull, repository = _require_pull(issue), issue.repository
        git = repository.git
        if issue.state != "open" or pull.draft:
            raise ApiError(405, "Pull Request is not mergeable")
        base_sha = git.refs[f"refs/heads/{pull.base}"]
        common = git.merge_base(base_sha, pull.head_sha)
        tree = git.commits[base_sha].tree
        for path, how, entry in git.compare(
            git.commits[common].tree if common else EMPTY_TREE_SHA, git.commits[pull.head_sha].tree
        ):
            tree = git.write_entry(tree, path, None if how == "removed" else entry)
        source = (pull.fork or repository).owner.login
        message = f"Merge pull request #{issue.number} from {source}/{pull.head}\n\n{issue.title}"
        signature = self.signature(actor.account)
        commit = git.add_commit(tree, (base_sha, pull.head_sha), message, signature, account=actor.account.login)
        pull.merged_at, pull.merged_by, pull.merge_sha = self.now(), actor.account, commit.sha
        # Remove it from the open pull requests first, so that the push below does not update it.
        repository.open_pulls.pop(issue.number, None)
        self.add_timeline_event(issue, "merged", actor, commit=commit.sha)
        self.move_ref(repository, actor, f"refs/heads/{pull.base}", commit.sha)
        pull.base_sha = base_sha
        self.close(issue, actor)
        if pull.base == repository.default_branch:
            for number in dict.fromkeys(CLOSING_KEYWORD.findall(issue.body or "")):
                target = repository.issues.get(int(number))
                if target and not target.pull and not target.deleted and not target.moved_to:
                    self.close(target, actor, commit=commit.sha)
        return commit.sha

    def save_check_run(self, repository: Repository, actor: Actor, run: CheckRun, action: str) -> None:
        """Store a check run and send its event. Raises ApiError 422 for an unknown commit."""
        if run.head_sha not in repository.git.commits:
            raise ApiError(422, f"No commit found for SHA: {run.head_sha}")
        if run.id not in repository.check_runs:
            repository.check_runs[run.id] = run
            repository.checks_by_sha.setdefault(run.head_sha, []).append(run)
        self.send_event(
            repository, "check_run", actor, action=action, check_run=self.serializer.check_run(repository, run)
        )

    def _send_push_event(
        self, repository: Repository, actor: Actor, ref: str, before: str | None, after: str | None
    ) -> None:
        if repository.installation is None or "push" not in repository.installation.events:
            return
        git, page = repository.git, self.serializer.repo_page(repository)
        new: list[Commit] = []
        if after is not None:
            # A new branch is compared with the default branch.
            since = before or git.refs.get(f"refs/heads/{repository.default_branch}")
            new = list(itertools.islice(git.commits_between(since, after), MAX_PUSH_COMMITS))
        commits: list[dict[str, Any]] = [self.serializer.push_commit(repository, commit) for commit in reversed(new)]
        head = self.serializer.push_commit(repository, git.commits[after]) if after else None
        shape = self.serializer.repository(repository)
        # Only in `push` payloads GitHub gives these two as seconds since the epoch.
        shape["created_at"] = int(repository.created_at.timestamp())
        shape["pushed_at"] = int(self.now().timestamp())
        span = f"{(before or ZERO_SHA)[:12]}...{(after or ZERO_SHA)[:12]}"
        self.send_event(
            repository,
            "push",
            actor,
            ref=ref,
            before=before or ZERO_SHA,
            after=after or ZERO_SHA,
            repository=shape,
            pusher={"name": actor.account.login, "email": self.signature(actor.account).email},
            created=before is None,
            deleted=after is None,
            forced=bool(before and after and not git.is_ancestor(before, after)),
            base_ref=None,
            compare=f"{page}/compare/{span}",
            commits=commits,
            head_commit=head,
        )


def _custom_error(message: str) -> ApiError:
    return ApiError(422, "Validation Failed", [{"resource": "PullRequest", "code": "custom", "message": message}])


def _require_pull(issue: Issue) -> PullRequest:
    if issue.pull is None:
        raise not_found()
    return issue.pull
