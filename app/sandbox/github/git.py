"""Git objects and refs of one repository, with the same shas as real git.

Trees are nested as in git, so that a change touches only the folders above it and a comparison skips equal folders.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

FILE_MODE = "100644"
FOLDER_MODE = "40000"
EMPTY_TREE_SHA = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
ZERO_SHA = "0" * 40

Change = Literal["added", "modified", "removed"]


class Entry(NamedTuple):
    """One entry of a tree; the sha of a folder is that of another tree."""

    mode: str
    sha: str

    @property
    def is_folder(self) -> bool:
        """True if the entry is a tree."""
        return self.mode == FOLDER_MODE


class Signature(NamedTuple):
    """The author or committer of a commit, with the time."""

    name: str
    email: str
    at: datetime


@dataclass(frozen=True)
class Commit:
    """A commit; `account` is the login that GitHub links to it, if any."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    message: str
    author: Signature
    committer: Signature
    account: str | None


class Git:
    """The object store and the refs, keyed by full name such as `refs/heads/main`."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.trees: dict[str, dict[str, Entry]] = {EMPTY_TREE_SHA: {}}
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}
        self._merge_bases: dict[tuple[str, str], str | None] = {}

    def fork(self) -> Git:
        """Return a fork with separate refs that shares all objects, as GitHub stores forks."""
        fork = Git()
        fork.blobs, fork.trees, fork.commits = self.blobs, self.trees, self.commits
        fork.refs = dict(self.refs)
        return fork

    def add_blob(self, content: bytes) -> str:
        """Store a blob and return its sha."""
        sha = _sha("blob", content)
        self.blobs[sha] = content
        return sha

    def add_tree(self, entries: Mapping[str, Entry]) -> str:
        # Git sorts folders as if their names ended in a slash.
        """Store a tree and return its sha."""
        ordered = sorted(entries.items(), key=lambda item: item[0] + "/" if item[1].is_folder else item[0])
        raw = b"".join(
            f"{entry.mode} {name}".encode("utf-8", "replace") + b"\0" + bytes.fromhex(entry.sha)
            for name, entry in ordered
        )
        sha = _sha("tree", raw)
        self.trees[sha] = dict(ordered)
        return sha

    def add_commit(
        self,
        tree: str,
        parents: tuple[str, ...],
        message: str,
        author: Signature,
        committer: Signature | None = None,
        account: str | None = None,
    ) -> Commit:
        """Store a commit; the committer defaults to the author."""
        committer = committer or author
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"author {_format_signature(author)}", f"committer {_format_signature(committer)}", "", message]
        sha = _sha("commit", "\n".join(lines).encode("utf-8", "replace"))
        commit = Commit(sha, tree, parents, message, author, committer, account)
        self.commits[sha] = commit
        return commit

    def resolve(self, ref: str) -> Commit | None:
        """Return the commit that a branch, tag, full ref name or sha points to."""
        for name in (ref, f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}"):
            if name in self.refs:
                return self.commits.get(self.refs[name])
        return self.commits.get(ref)

    def find_entry(self, tree: str, path: str) -> Entry | None:
        """Return the entry at `path`; the empty path is the tree itself."""
        entry = Entry(FOLDER_MODE, tree)
        for name in filter(None, path.split("/")):
            if not entry.is_folder:
                return None
            below = self.trees[entry.sha].get(name)
            if below is None:
                return None
            entry = below
        return entry

    def write_entry(self, tree: str, path: str, entry: Entry | None) -> str:
        """Return the sha of the tree with `entry` at `path`, or without it when `entry` is None.

        Folders that become empty are removed.
        """
        name, _, rest = path.partition("/")
        entries = dict(self.trees[tree])
        if rest:
            below = entries.get(name)
            inner = self.write_entry(below.sha if below and below.is_folder else EMPTY_TREE_SHA, rest, entry)
            entry = Entry(FOLDER_MODE, inner) if inner != EMPTY_TREE_SHA else None
        if entry is None:
            entries.pop(name, None)
        else:
            entries[name] = entry
        return self.add_tree(entries)

    def files(self, tree: str, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        """Yield every file below a tree with its full path."""
        for name, entry in self.trees[tree].items():
            if entry.is_folder:
                yield from self.files(entry.sha, f"{prefix}{name}/")
            else:
                yield prefix + name, entry

    def compare(self, before: str, after: str, prefix: str = "") -> Iterator[tuple[str, Change, Entry]]:
        """Yield the files that differ between two trees; a removed file comes with its old entry."""
        if before == after:
            return
        old, new = self.trees[before], self.trees[after]
        for name in sorted(old.keys() | new.keys()):
            was, now = old.get(name), new.get(name)
            if was == now:
                continue
            was_folder = was is not None and was.is_folder
            now_folder = now is not None and now.is_folder
            if was_folder or now_folder:
                yield from self.compare(
                    was.sha if was and was_folder else EMPTY_TREE_SHA,
                    now.sha if now and now_folder else EMPTY_TREE_SHA,
                    f"{prefix}{name}/",
                )
            if was is not None and not was_folder and (now is None or now_folder):
                yield prefix + name, "removed", was
            elif now is not None and not now_folder:
                yield prefix + name, "added" if was is None or was_folder else "modified", now

    def history(self, sha: str) -> Iterator[Commit]:
        """Yield the commit and all its ancestors, newest first."""
        seen = {sha}
        pending = [self.commits[sha]]
        while pending:
            pending.sort(key=lambda commit: commit.committer.at)
            commit = pending.pop()
            yield commit
            for parent in commit.parents:
                if parent not in seen and parent in self.commits:
                    seen.add(parent)
                    pending.append(self.commits[parent])

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Return True if `older` is in the history of `newer`."""
        return any(commit.sha == older for commit in self.history(newer))

    def merge_base(self, first: str, second: str) -> str | None:
        """Return the newest commit in both histories."""
        if (first, second) not in self._merge_bases:
            reached = {commit.sha for commit in self.history(first)}
            found = (commit.sha for commit in self.history(second) if commit.sha in reached)
            self._merge_bases[first, second] = next(found, None)
        return self._merge_bases[first, second]

    def commits_between(self, before: str | None, after: str) -> Iterator[Commit]:
        """Yield the commits that `after` has and `before` does not, newest first."""
        if before is not None and self.commits[after].parents == (before,):
            yield self.commits[after]
            return
        reached = {commit.sha for commit in self.history(before)} if before is not None else set()
        yield from (commit for commit in self.history(after) if commit.sha not in reached)


def is_ref_name(name: str) -> bool:
    """Return True if `git check-ref-format` would accept the name."""
    parts = name.split("/")
    return (
        len(parts) >= 2
        and not re.search(r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|@\{", name)
        and not name.endswith(".")
        and all(part and not part.startswith(".") and not part.endswith(".lock") for part in parts)
    )


def _sha(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def _format_signature(signature: Signature) -> str:
    return f"{signature.name} <{signature.email}> {int(signature.at.timestamp())} +0000"
