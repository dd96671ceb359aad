"""Issues, comments, labels and files over the API."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from app.sandbox.github import ApiError, SandboxGitHub
from app.sandbox.github.people import Person
from app.sandbox.github.world import Repository

from .conftest import HandClock

ISSUES = "/repos/octo/shop/issues"


def test_pages_of_thirty_or_a_hundred(shop: Repository, mona: Person, api: httpx.Client) -> None:
    number = mona.opens(shop, "down")
    for count in range(250):
        mona.comments(shop, number, f"line {count}")
    first = api.get(f"{ISSUES}/{number}/comments")
    assert len(first.json()) == 30
    found: list[Any] = []
    where: str | None = f"{ISSUES}/{number}/comments?per_page=500"
    pages = 0
    while where:
        answer = api.get(where)
        found += answer.json()
        where = answer.links.get("next", {}).get("url")
        pages += 1
    assert pages == 3
    assert [comment["body"] for comment in found] == [f"line {count}" for count in range(250)]
    assert set(answer.links) == {"first", "prev"}
    assert api.get(f"{ISSUES}/{number}/comments?page=99").json() == []


def test_since_leaves_out_what_is_older(shop: Repository, mona: Person, api: httpx.Client, clock: HandClock) -> None:
    first = mona.opens(shop, "old")
    clock.move(minutes=30)
    second = mona.opens(shop, "new")
    mona.comments(shop, second, "one")
    since = clock.now.isoformat().replace("+00:00", "Z")
    assert [issue["number"] for issue in api.get(ISSUES, params={"since": since}).json()] == [second]
    assert [issue["number"] for issue in api.get(ISSUES, params={"state": "all"}).json()] == [second, first]
    assert api.get(ISSUES, params={"since": "soon"}).status_code == 422


def test_an_unknown_label_is_made_grey(shop: Repository, mona: Person, api: httpx.Client) -> None:
    number = mona.opens(shop, "down")
    answer = api.post(f"{ISSUES}/{number}/labels", json={"labels": ["sev/1 ä"]})
    assert [(label["name"], label["color"]) for label in answer.json()] == [("sev/1 ä", "ededed")]
    assert api.delete(f"{ISSUES}/{number}/labels/sev%2F1%20%C3%A4").json() == []
    gone = api.delete(f"{ISSUES}/{number}/labels/sev%2F1%20%C3%A4")
    assert (gone.status_code, gone.json()["message"]) == (404, "Label does not exist")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("", {"title": "x" * 257}, "title"),
        ("", {"title": "x", "body": "x" * 65_537}, "body"),
        ("/1/comments", {"body": "x" * 65_537}, "body"),
        ("/1/comments", {"body": " "}, "body"),
        ("/1/comments", {}, "body"),
        ("/1/labels", ["x" * 51], "name"),
        ("/1/reactions", {"content": "cake"}, "content"),
    ],
)
def test_what_is_too_long_or_missing(
    shop: Repository, mona: Person, api: httpx.Client, path: str, body: Any, field: str
) -> None:
    mona.opens(shop, "down")
    answer = api.post(ISSUES + path, json=body)
    assert answer.status_code == 422
    assert answer.json()["message"] == "Validation Failed"
    assert answer.json()["errors"][0]["field"] == field
    assert api.post(f"{ISSUES}/1/comments", json={"body": "x" * 65_536}).status_code == 201
    assert shop.issue(1).labels == []


def test_one_reaction_each(shop: Repository, mona: Person, api: httpx.Client) -> None:
    number = mona.opens(shop, "down")
    comment = mona.comments(shop, number, "/ack")
    where = f"{ISSUES}/comments/{comment.id}/reactions"
    first, second = api.post(where, json={"content": "eyes"}), api.post(where, json={"content": "eyes"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()


def test_a_deleted_issue_is_gone(github: SandboxGitHub, shop: Repository, mona: Person, api: httpx.Client) -> None:
    number = mona.opens(shop, "down")
    with pytest.raises(ApiError):
        mona.deletes_issue(shop, number)
    shop.permit("mona", "admin")
    mona.deletes_issue(shop, number)
    assert api.get(f"{ISSUES}/{number}").status_code == 410
    assert api.post(f"{ISSUES}/{number}/comments", json={"body": "?"}).status_code == 410
    assert api.get(ISSUES, params={"state": "all"}).json() == []
    assert mona.opens(shop, "again") == number + 1


def test_a_locked_issue_refuses_the_app(shop: Repository, mona: Person, api: httpx.Client) -> None:
    number = mona.opens(shop, "down")
    mona.locks(shop, number, "resolved")
    answer = api.post(f"{ISSUES}/{number}/comments", json={"body": "?"})
    assert (answer.status_code, "locked" in answer.json()["message"]) == (403, True)
    mona.comments(shop, number, "I may")
    mona.unlocks(shop, number)
    assert api.post(f"{ISSUES}/{number}/comments", json={"body": "!"}).status_code == 201


def test_a_transferred_issue_says_where_it_went(
    github: SandboxGitHub, shop: Repository, mona: Person, api: httpx.Client
) -> None:
    other = github.add_repository("octo/other")
    other.permit("mona", "write")
    hidden = github.add_repository("acme/hidden", private=True)
    hidden.permit("mona", "write")
    number = mona.opens(shop, "down", "body", labels=["incident"])
    comment = mona.comments(shop, number, "/ack")
    mona.opens(other, "taken")
    there = mona.transfers(shop, number, other)
    assert there == 2
    answer = api.get(f"{ISSUES}/{number}")
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"{github.api_url}/repos/octo/other/issues/2"
    followed = api.get(f"{ISSUES}/{number}/comments?per_page=5", follow_redirects=True)
    assert [found["id"] for found in followed.json()] == [comment.id]
    second = mona.opens(shop, "down too")
    mona.transfers(shop, second, hidden)
    assert api.get(f"{ISSUES}/{second}").status_code == 404


def test_a_renamed_repository_says_its_new_name(github: SandboxGitHub, shop: Repository, api: httpx.Client) -> None:
    github.rename_repository(shop, "store")
    answer = api.get("/repos/octo/shop/issues?state=all")
    assert (answer.status_code, answer.headers["Location"]) == (
        301,
        f"{github.api_url}/repos/octo/store/issues?state=all",
    )
    assert api.get("/repos/octo/store").json()["full_name"] == "octo/store"


def test_the_timeline_tells_all(github: SandboxGitHub, shop: Repository, mona: Person, api: httpx.Client) -> None:
    number = mona.opens(shop, "down", labels=["incident"])
    api.post(f"{ISSUES}/{number}/labels", json=["sev1"])
    mona.comments(shop, number, "/ack")
    api.post(f"{ISSUES}/{number}/assignees", json={"assignees": ["mona", "nobody"]})
    mona.unlabels(shop, number, "incident")
    mona.edits_issue(shop, number, title="up")
    mona.opens(shop, "like it", f"as in #{number}")
    mona.closes(shop, number)
    mona.reopens(shop, number)
    entries = api.get(f"{ISSUES}/{number}/timeline").json()
    assert [entry["event"] for entry in entries] == [
        "labeled", "labeled", "commented", "assigned", "unlabeled", "renamed", "cross-referenced", "closed", "reopened",
    ]  # fmt: skip
    assert [entry["performed_via_github_app"] is not None for entry in entries if "label" in entry] == [
        False,
        True,
        False,
    ]
    assert entries[1]["actor"]["login"] == "muster[bot]"
    assert entries[5]["rename"] == {"from": "down", "to": "up"}
    listed = [entry["event"] for entry in api.get(f"{ISSUES}/{number}/events").json()]
    assert "closed" in listed
    assert "commented" not in listed


def test_a_file_is_written_once(shop: Repository, api: httpx.Client) -> None:
    where, content = "/repos/octo/shop/contents/docs/a b/ü.md", base64.b64encode(b"one\n").decode()
    made = api.put(where, json={"message": "one", "content": content})
    assert made.status_code == 201
    again = api.put(where, json={"message": "two", "content": content})
    assert (again.status_code, "sha" in again.json()["message"]) == (422, True)
    assert api.put(where, json={"message": "two", "content": content, "sha": "0" * 40}).status_code == 409
    assert api.put(where, json={"message": "two", "content": "%%%"}).status_code == 422
    sha = made.json()["content"]["sha"]
    assert api.put(where, json={"message": "two", "content": "dHdvCg==", "sha": sha}).status_code == 200
    assert shop.file("docs/a b/ü.md") == "two\n"
    assert api.get(where, headers={"Accept": "application/vnd.github.raw+json"}).text == "two\n"


def test_shas_are_those_of_git(shop: Repository, api: httpx.Client) -> None:
    made = api.post("/repos/octo/shop/git/blobs", json={"content": "hello\n"}).json()["sha"]
    assert made == "ce013625030ba8dba906f756967f9e9ca394464a"
    tree = api.post("/repos/octo/shop/git/trees", json={"tree": [{"path": "hello.txt", "mode": "100644", "sha": made}]})
    assert tree.json()["sha"] == "aaa96ced2d9a1c8e72c56b253a0e2fe78393feb7"


def test_a_pull_request_from_branch_to_merge(shop: Repository, mona: Person, api: httpx.Client) -> None:
    number = mona.opens(shop, "down")
    repo = "/repos/octo/shop"
    head = api.get(f"{repo}/git/ref/heads/main").json()["object"]["sha"]
    branch = {"ref": "refs/heads/muster/postmortem-1", "sha": head}
    assert api.post(f"{repo}/git/refs", json=branch).status_code == 201
    assert api.post(f"{repo}/git/refs", json=branch).json()["message"] == "Reference already exists"
    opening = {"title": "pm", "head": "muster/postmortem-1", "base": "main", "body": f"Closes #{number}"}
    empty = api.post(f"{repo}/pulls", json=opening)
    assert (empty.status_code, empty.json()["errors"][0]["message"]) == (
        422,
        "No commits between main and muster/postmortem-1",
    )
    api.put(f"{repo}/contents/pm.md", json={"message": "pm", "content": "cG0=", "branch": "muster/postmortem-1"})
    pull = api.post(f"{repo}/pulls", json=opening)
    assert pull.status_code == 201
    assert "already exists" in api.post(f"{repo}/pulls", json=opening).json()["errors"][0]["message"]
    mona.pushes(shop, "README.md", "# changed meanwhile\n")
    mona.merges(shop, pull.json()["number"])
    merged = api.get(f"{repo}/pulls/{pull.json()['number']}").json()
    assert (merged["state"], merged["merged"], merged["merged_by"]["login"]) == ("closed", True, "mona")
    assert (shop.file("pm.md"), shop.file("README.md")) == ("pm", "# changed meanwhile\n")
    assert shop.issue(number).state == "closed"
    assert [issue.number for issue in shop.pulls] == [pull.json()["number"]]


def test_a_branch_moves_forward_only(shop: Repository, mona: Person, api: httpx.Client) -> None:
    repo = "/repos/octo/shop"
    old = api.get(f"{repo}/git/ref/heads/main").json()["object"]["sha"]
    mona.pushes(shop, "a.txt", "a")
    refused = api.patch(f"{repo}/git/refs/heads/main", json={"sha": old})
    assert (refused.status_code, refused.json()["message"]) == (422, "Update is not a fast forward")
    assert api.patch(f"{repo}/git/refs/heads/main", json={"sha": old, "force": True}).status_code == 200


def test_broken_json_is_the_callers_fault(shop: Repository, api: httpx.Client) -> None:
    for body in (b"{", b"[" * 100_000, b'"text"', b"[]", b"7"):
        assert api.post(ISSUES, content=body).status_code in (400, 422)
    assert api.post(ISSUES, json={"title": "x", "labels": [1]}).status_code == 422


def test_equal_runs_are_equal(github: SandboxGitHub, shop: Repository, mona: Person, clock: HandClock) -> None:
    def play(sandbox: SandboxGitHub, repository: Repository, person: Person) -> list[Any]:
        number = person.opens(repository, "down", labels=["incident"])
        person.comments(repository, number, "/ack")
        person.pushes(repository, "a", "b")
        issue, git = repository.issue(number), repository.git
        guids = [delivery.guid for delivery in sandbox.hooks._queue]
        return [issue.id, [entry.id for entry in issue.timeline], git.refs, guids]

    def play_on_new_sandbox() -> list[Any]:
        other = SandboxGitHub(clock=clock, app=github.app)
        repository = other.add_repository("octo/shop")
        person = other.add_person("mona")
        repository.permit("mona", "write")
        return play(other, repository, person)

    assert play_on_new_sandbox() == play_on_new_sandbox()
