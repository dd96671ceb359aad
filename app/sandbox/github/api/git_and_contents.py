"""API routes for files, refs, blobs, trees and commits."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any

from flask import Blueprint

from app.sandbox.github.account_json import Json
from app.sandbox.github.api.gateway import PREFIX, Call, Gateway, Reply
from app.sandbox.github.errors import ApiError, invalid_field, not_found
from app.sandbox.github.git import EMPTY_TREE_SHA, FOLDER_MODE, Commit, Entry, Signature
from app.sandbox.github.world import Repository

READ, WRITE = "contents:read", "contents:write"


def blueprint(gateway: Gateway) -> Blueprint:
    """Register the routes of git data and file contents."""
    part = Blueprint("git", __name__, url_prefix=PREFIX)
    repo = "/repos/<owner>/<repo>"
    gateway.route(part, "GET", f"{repo}/contents/", get_contents, READ)
    gateway.route(part, "GET", f"{repo}/contents/<path:path>", get_contents, READ)
    gateway.route(part, "PUT", f"{repo}/contents/<path:path>", put_contents, WRITE)
    gateway.route(part, "GET", f"{repo}/git/ref/<path:ref>", get_ref, READ)
    gateway.route(part, "POST", f"{repo}/git/refs", create_ref, WRITE)
    gateway.route(part, "PATCH", f"{repo}/git/refs/<path:ref>", update_ref, WRITE)
    gateway.route(part, "DELETE", f"{repo}/git/refs/<path:ref>", delete_ref, WRITE)
    gateway.route(part, "POST", f"{repo}/git/blobs", create_blob, WRITE)
    gateway.route(part, "POST", f"{repo}/git/trees", create_tree, WRITE)
    gateway.route(part, "POST", f"{repo}/git/commits", create_commit, WRITE)
    gateway.route(part, "GET", f"{repo}/git/commits/<sha>", get_git_commit, READ)
    gateway.route(part, "GET", f"{repo}/commits", list_commits, READ)
    return part


def get_contents(call: Call) -> Reply:
    """Return a file or list a folder."""
    repository, path = call.repository, call.path.get("path", "").strip("/")
    git, ref = repository.git, call.request.args.get("ref") or repository.default_branch
    commit = git.resolve(ref)
    if commit is None:
        raise not_found() if not git.refs else ApiError(404, f"No commit found for the ref {ref}")
    entry = git.find_entry(commit.tree, path)
    if entry is None:
        raise not_found()
    accept = call.request.headers.get("Accept", "")
    if entry.is_folder:
        lines = [
            call.serializer.content(repository, f"{path}/{name}".lstrip("/"), below, ref, full=False)
            for name, below in git.trees[entry.sha].items()
        ]
        if "object" in accept:
            return Reply({**call.serializer.content(repository, path, entry, ref), "entries": lines})
        return Reply(lines)
    if "raw" in accept:
        kind = "application/vnd.github.raw+json; charset=utf-8"
        return Reply(text=git.blobs[entry.sha], content_type=kind)
    return Reply(call.serializer.content(repository, path, entry, ref))


def put_contents(call: Call) -> Reply:
    """Create or update a file; an update needs the sha of the old content."""
    repository, path = call.repository, call.path["path"]
    if any(name in ("", ".", "..", ".git") for name in path.split("/")):
        raise ApiError(422, "path contains a malformed path component")
    message = call.required_field("message", "Commit")
    content = _decode_base64(call.required_field("content", "Commit"))
    branch, sha = call.body_field("branch", str, "") or None, call.body_field("sha", str, "") or None
    git = repository.git
    head = git.refs.get(f"refs/heads/{branch or repository.default_branch}")
    if head is None and git.refs:
        raise ApiError(404, f"Branch {branch} not found")
    old = git.find_entry(git.commits[head].tree, path) if head else None
    if old is not None and sha is None:
        raise ApiError(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    if sha is not None and (old is None or old.sha != sha):
        raise ApiError(409, f"{path} does not match {sha}")
    author = _read_signature(call, "author") or _read_signature(call, "committer")
    commit = call.changes.commit_file(
        repository, call.actor, path, content, message, branch, author, _read_signature(call, "committer")
    )
    entry = git.find_entry(commit.tree, path)
    ref = branch or repository.default_branch
    shape = call.serializer.content(repository, path, entry, ref, full=False) if entry else None
    return Reply(
        {"content": shape, "commit": call.serializer.git_commit(repository, commit)}, 200 if old is not None else 201
    )


def get_ref(call: Call) -> Reply:
    """Return a ref."""
    return Reply(call.serializer.ref(call.repository, _find_ref(call)))


def create_ref(call: Call) -> Reply:
    """Create a ref."""
    ref, sha = call.required_field("ref", "Reference"), call.required_field("sha", "Reference")
    call.changes.create_ref(call.repository, call.actor, ref, sha)
    shape = call.serializer.ref(call.repository, ref)
    return Reply(shape, 201, {"Location": shape["url"]})


def update_ref(call: Call) -> Reply:
    """Move a ref."""
    ref, sha = f"refs/{call.path['ref']}", call.required_field("sha", "Reference")
    call.changes.update_ref(call.repository, call.actor, ref, sha, call.body_field("force", bool, False))
    return Reply(call.serializer.ref(call.repository, ref))


def delete_ref(call: Call) -> Reply:
    """Delete a ref; the default branch cannot be deleted."""
    repository, ref = call.repository, f"refs/{call.path['ref']}"
    if ref not in repository.git.refs:
        raise ApiError(422, "Reference does not exist")
    if ref == f"refs/heads/{repository.default_branch}":
        raise ApiError(422, "Cannot delete the default branch")
    call.changes.move_ref(repository, call.actor, ref, None)
    return Reply(status=204)


def create_blob(call: Call) -> Reply:
    """Store a blob."""
    repository, text = _require_not_empty(call.repository), call.required_field("content", "Blob")
    is_base64 = call.body_field("encoding", str, "utf-8") == "base64"
    sha = repository.git.add_blob(_decode_base64(text) if is_base64 else text.encode("utf-8", "replace"))
    return Reply({"sha": sha, "url": f"{call.serializer.repo_url(repository)}/git/blobs/{sha}"}, 201)


def create_tree(call: Call) -> Reply:
    """Store a tree, optionally based on another one."""
    repository = _require_not_empty(call.repository)
    git = repository.git
    base = call.body_field("base_tree", str, "") or EMPTY_TREE_SHA
    if base in git.commits:
        base = git.commits[base].tree
    if base not in git.trees:
        raise ApiError(422, "base_tree is not a valid tree sha")
    for line in call.body_field("tree", list, []):
        if not isinstance(line, dict) or not isinstance(line.get("path"), str) or not line["path"].strip("/"):
            raise ApiError(422, "tree.path is missing")
        base = git.write_entry(base, line["path"].strip("/"), _tree_entry(repository, line))
    return Reply(call.serializer.tree(repository, base), 201)


def create_commit(call: Call) -> Reply:
    """Store a commit without moving a ref."""
    repository = _require_not_empty(call.repository)
    git = repository.git
    message, tree = call.required_field("message", "Commit"), call.required_field("tree", "Commit")
    parents = call.parse_names(call.body_field("parents", list, []))
    if tree not in git.trees:
        raise ApiError(422, "Tree SHA does not exist")
    if not all(parent in git.commits for parent in parents):
        raise ApiError(422, "Parent SHA does not exist or is not a commit object")
    author = _read_signature(call, "author") or call.changes.signature(call.actor.account)
    committer = _read_signature(call, "committer") or author
    login = call.actor.account.login
    commit = git.add_commit(tree, tuple(parents), message, author, committer, login)
    return Reply(call.serializer.git_commit(repository, commit), 201)


def get_git_commit(call: Call) -> Reply:
    """Return a commit."""
    commit = call.repository.git.commits.get(call.path["sha"])
    if commit is None:
        raise not_found()
    return Reply(call.serializer.git_commit(call.repository, commit))


def list_commits(call: Call) -> Reply:
    """List the commits of a branch, optionally by path and time."""
    repository, args = call.repository, call.request.args
    git = _require_not_empty(repository).git
    start = git.resolve(args.get("sha") or repository.default_branch)
    if start is None:
        raise not_found()
    path = args.get("path", "").strip("/")
    found = [commit for commit in git.history(start.sha) if not path or _changes_path(repository, commit, path)]
    for name, direction in (("since", 1), ("until", -1)):
        if args.get(name):
            try:
                bound = datetime.fromisoformat(args[name])
            except ValueError:
                raise invalid_field("Commit", name) from None
            if bound.tzinfo:
                found = [c for c in found if (c.committer.at - bound).total_seconds() * direction >= 0]
    return call.paginate(found, lambda commit: call.serializer.commit(repository, commit, _account_json(call, commit)))


def _changes_path(repository: Repository, commit: Commit, path: str) -> bool:
    git = repository.git
    before = git.commits[commit.parents[0]].tree if commit.parents else EMPTY_TREE_SHA
    return git.find_entry(before, path) != git.find_entry(commit.tree, path)


def _account_json(call: Call, commit: Commit) -> Json | None:
    account = call.world.accounts.get((commit.account or "").lower())
    return call.serializer.account(account) if account else None


def _find_ref(call: Call) -> str:
    ref = f"refs/{call.path['ref']}"
    if ref not in _require_not_empty(call.repository).git.refs:
        raise not_found()
    return ref


def _require_not_empty(repository: Repository) -> Repository:
    if not repository.git.refs:
        raise ApiError(409, "Git Repository is empty.")
    return repository


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(422, "content is not valid Base64") from None


def _tree_entry(repository: Repository, line: dict[str, Any]) -> Entry | None:
    """Return the entry that a line of the request describes; None removes the path."""
    git, mode = repository.git, line.get("mode", "100644")
    if mode not in ("100644", "100755", "040000", "160000", "120000"):
        raise ApiError(422, f"tree.mode {mode} is not valid")
    if isinstance(line.get("content"), str):
        return Entry(mode, git.add_blob(line["content"].encode("utf-8", "replace")))
    sha = line.get("sha")
    if sha is None:
        return None
    if mode == "040000" and sha in git.trees:
        return Entry(FOLDER_MODE, sha)
    if sha not in git.blobs:
        raise ApiError(422, f"tree.sha {sha} is not a valid blob")
    return Entry(mode, sha)


def _read_signature(call: Call, name: str) -> Signature | None:
    fields: dict[str, Any] = call.body_field(name, dict, {})
    if not fields:
        return None
    if not isinstance(fields.get("name"), str) or not isinstance(fields.get("email"), str):
        raise ApiError(422, f"Invalid request.\n\n{name} needs a name and an email.")
    at = call.changes.now()
    if fields.get("date"):
        try:
            at = datetime.fromisoformat(str(fields["date"]))
        except ValueError:
            raise invalid_field("Commit", f"{name}.date") from None
        if at.tzinfo is None:
            at = at.replace(tzinfo=call.changes.now().tzinfo)
    return Signature(fields["name"], fields["email"], at)
