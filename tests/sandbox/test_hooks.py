"""Webhooks: which are sent, in which order, how they are signed, and how they can be disturbed."""

from __future__ import annotations

import json
from datetime import timedelta

import httpx
import pytest

from app.sandbox.github import SandboxGitHub
from app.sandbox.github.hooks import signature
from app.sandbox.github.people import Person
from app.sandbox.github.world import Repository

from .conftest import NO_CERTIFICATES, HandClock, WebhookReceiver, as_app


def test_githubs_own_example() -> None:
    made = signature("It's a Secret to Everybody", b"Hello, World!")
    assert made == "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_headers_and_signature(github: SandboxGitHub, ear: WebhookReceiver, shop: Repository, mona: Person) -> None:
    mona.opens(shop, "down")
    github.hooks.settle()
    head, body = ear.deliveries[-1]
    assert head["X-Hub-Signature-256"] == signature(github.app.webhook_secret, body)
    assert head["X-GitHub-Event"] == "issues"
    assert head["X-GitHub-Hook-ID"] == str(github.app.hook_id)
    assert head["X-GitHub-Hook-Installation-Target-ID"] == str(github.app.app_id)
    assert head["X-GitHub-Hook-Installation-Target-Type"] == "integration"
    assert head["User-Agent"].startswith("GitHub-Hookshot/")
    assert head["Content-Type"] == "application/json"
    assert len({head["X-GitHub-Delivery"] for head, _ in ear.deliveries}) == len(ear.deliveries)


def test_the_life_of_an_issue(
    github: SandboxGitHub, ear: WebhookReceiver, shop: Repository, mona: Person, api: httpx.Client
) -> None:
    github.hooks.settle()
    ear.clear()
    number = mona.opens(shop, "down", "body", labels=["incident", "sev1"])
    comment = mona.comments(shop, number, "/ack")
    mona.edits_comment(shop, comment, "/ack now")
    api.post(f"/repos/octo/shop/issues/{number}/labels", json=["acknowledged"])
    mona.unlabels(shop, number, "sev1")
    mona.assigns(shop, number, "mona")
    mona.edits_issue(shop, number, title="still down", body="more")
    mona.locks(shop, number)
    mona.unlocks(shop, number)
    mona.closes(shop, number)
    mona.reopens(shop, number)
    mona.deletes_comment(shop, comment)
    github.hooks.settle()
    assert ear.event_names == [
        "issues.opened", "issues.labeled", "issues.labeled", "issue_comment.created", "issue_comment.edited",
        "issues.labeled", "issues.unlabeled", "issues.assigned", "issues.edited", "issues.locked", "issues.unlocked",
        "issues.closed", "issues.reopened", "issue_comment.deleted",
    ]  # fmt: skip
    opened = ear.payload("issues.opened")
    assert [label["name"] for label in opened["issue"]["labels"]] == ["incident", "sev1"]
    assert opened["sender"]["login"] == "mona"
    assert shop.installation is not None
    assert opened["installation"]["id"] == shop.installation.id
    assert opened["organization"]["login"] == "octo"
    assert opened["repository"]["full_name"] == "octo/shop"
    assert ear.payload("issues.labeled")["sender"]["type"] == "Bot"
    assert ear.payload("issues.edited")["changes"] == {"title": {"from": "down"}, "body": {"from": "body"}}
    assert ear.payload("issue_comment.edited")["changes"] == {"body": {"from": "/ack"}}


def test_pushes_and_pull_requests(github: SandboxGitHub, ear: WebhookReceiver, shop: Repository, mona: Person) -> None:
    github.hooks.settle()
    ear.clear()
    mona.pushes(shop, "pm.md", "one\n", "pm", branch="pm")
    number = mona.opens_pull(shop, "pm", "Postmortem", "see #99")
    mona.pushes(shop, "pm.md", "two\n", "pm again", branch="pm")
    mona.merges(shop, number)
    github.hooks.settle()
    assert ear.event_names == [
        "push", "push", "pull_request.opened", "push", "pull_request.synchronize", "push", "pull_request.closed",
    ]  # fmt: skip
    merge = ear.payload("push")
    assert merge["ref"] == "refs/heads/main"
    assert [(commit["added"], commit["modified"]) for commit in merge["commits"]] == [
        (["pm.md"], []), ([], ["pm.md"]), (["pm.md"], []),
    ]  # fmt: skip
    closed = ear.payload("pull_request.closed")
    assert (closed["pull_request"]["merged"], closed["pull_request"]["merge_commit_sha"]) == (True, merge["after"])


def test_only_where_the_app_is_and_what_it_wants(github: SandboxGitHub, ear: WebhookReceiver) -> None:
    github.app.events[:] = ["issues"]
    first = github.add_repository("octo/one")
    second = github.add_repository("octo/two")
    silent = github.add_repository("octo/three", install=False)
    mona = github.add_person("mona")
    for repository in (first, second, silent):
        mona.comments(repository, mona.opens(repository, "hm"), "hello")
    github.uninstall("octo", second)
    mona.opens(second, "nobody hears")
    github.uninstall("octo")
    github.hooks.settle()
    github.app.events[:] = ["issues", "issue_comment", "pull_request", "push", "label", "milestone", "repository"]
    assert ear.event_names == [
        "installation.created", "installation_repositories.added", "issues.opened", "issues.opened",
        "installation_repositories.removed", "installation.deleted",
    ]  # fmt: skip


def test_a_transfer_is_told_twice(github: SandboxGitHub, ear: WebhookReceiver, shop: Repository, mona: Person) -> None:
    other = github.add_repository("octo/other")
    other.permit("mona", "write")
    number = mona.opens(shop, "down")
    github.hooks.settle()
    ear.clear()
    mona.transfers(shop, number, other)
    github.hooks.settle()
    assert ear.event_names == ["issues.transferred", "issues.opened"]
    assert ear.payload("issues.transferred")["changes"]["new_repository"]["full_name"] == "octo/other"
    assert ear.payload("issues.opened")["changes"]["old_issue"]["number"] == number


def test_held_shuffled_doubled_and_lost(
    github: SandboxGitHub, ear: WebhookReceiver, shop: Repository, mona: Person
) -> None:
    github.hooks.settle()
    ear.clear()
    github.hooks.hold()
    for count in range(6):
        mona.opens(shop, f"issue {count}")
    github.hooks.settle()
    assert ear.event_names == []
    held = github.hooks.held_deliveries
    chosen = [held[5], held[0], held[0], held[3], held[1], held[2]]
    github.hooks.release(chosen)
    github.hooks.settle()
    assert [json.loads(body)["issue"]["title"] for _, body in ear.deliveries] == [
        json.loads(delivery.body)["issue"]["title"] for delivery in chosen
    ]
    log = list(github.hooks.deliveries())
    assert [delivery.guid for delivery in log if not delivery.ok and delivery.event == "issues"] == [held[4].guid]
    assert len({delivery.id for delivery in log}) == len(log)


def test_dropped_then_found_and_sent_again(
    github: SandboxGitHub, ear: WebhookReceiver, shop: Repository, mona: Person
) -> None:
    github.hooks.settle()
    ear.clear()
    github.hooks.drop_next(1)
    mona.opens(shop, "lost")
    mona.opens(shop, "heard")
    github.hooks.settle()
    assert len(ear.deliveries) == 1
    with as_app(github) as app:
        failed = app.get("/app/hook/deliveries", params={"status": "failure"}).json()[0]
        assert (failed["event"], failed["action"], failed["status_code"]) == ("issues", "opened", 502)
        detail = app.get(f"/app/hook/deliveries/{failed['id']}").json()
        assert detail["request"]["payload"]["issue"]["title"] == "lost"
        assert detail["request"]["headers"]["X-GitHub-Delivery"] == failed["guid"]
        assert app.post(f"/app/hook/deliveries/{failed['id']}/attempts").status_code == 202
        github.hooks.settle()
        newest = app.get("/app/hook/deliveries").json()[0]
    assert (newest["guid"], newest["redelivery"], newest["status"]) == (failed["guid"], True, "OK")
    assert json.loads(ear.deliveries[-1][1])["issue"]["title"] == "lost"


def test_deliveries_by_cursor_for_three_days(
    github: SandboxGitHub, shop: Repository, mona: Person, clock: HandClock
) -> None:
    for count in range(25):
        mona.opens(shop, f"{count}")
    github.hooks.settle()
    with as_app(github) as app:
        where, found = "/app/hook/deliveries?per_page=10", []
        while where:
            answer = app.get(where)
            found += [delivery["id"] for delivery in answer.json()]
            where = answer.links.get("next", {}).get("url", "")
        assert len(found) == 26
        assert found == sorted(found, reverse=True)
        assert app.get("/app/hook/deliveries?cursor=nonsense").status_code == 400
    clock.move(hours=72, seconds=1)
    mona.opens(shop, "new")
    github.hooks.settle()
    with as_app(github) as app:
        assert len(app.get("/app/hook/deliveries").json()) == 1


def test_nobody_listens_then_somebody_does(
    github: SandboxGitHub, shop: Repository, mona: Person, ear: WebhookReceiver
) -> None:
    github.hooks.settle()
    github.hooks.url = None
    mona.opens(shop, "unheard")
    github.hooks.settle()
    github.hooks.url = ear.url
    ear.status = 500
    mona.opens(shop, "refused")
    github.hooks.settle()
    assert [delivery.status for delivery in github.hooks.deliveries()][:2] == [
        "Invalid HTTP Response: 500",
        "failed to connect to host",
    ]
    assert "issues.opened" in ear.event_names


@pytest.mark.parametrize("body", ["line\r\nline", "nul \x00 here", "half \ud83d of a pair", "\u202e\u2028\U0001f6a8"])
def test_odd_text_arrives_as_it_was(
    github: SandboxGitHub, ear: WebhookReceiver, shop: Repository, mona: Person, body: str
) -> None:
    number = mona.opens(shop, "odd \ud800", body)
    mona.comments(shop, number, body)
    github.hooks.settle()
    assert ear.payload("issues.opened")["issue"]["body"] == body
    assert ear.deliveries[-1][1].isascii()
    answer = httpx.get(f"{github.url}/octo/shop/issues/{number}", trust_env=False, verify=NO_CERTIFICATES)
    assert answer.status_code == 200


def test_ping(github: SandboxGitHub, ear: WebhookReceiver) -> None:
    github.ping()
    github.hooks.settle()
    assert ear.event_names == ["ping"]
    assert ear.payload("ping")["hook_id"] == github.app.hook_id


def test_the_delivery_list_is_paged_by_cursor_whatever_the_ids_and_shows_some_late(
    github: SandboxGitHub, shop: Repository, mona: Person, clock: HandClock
) -> None:
    github.hooks.settle()
    github.hooks.scattered_ids = True
    for nth in range(12):
        mona.opens(shop, f"down {nth}")
    github.hooks.settle()
    late = list(github.hooks.deliveries())[3:6]
    github.hooks.delay_listing(late, timedelta(hours=2))

    def list_delivery_ids() -> list[int]:
        found: list[int] = []
        address = "/app/hook/deliveries?per_page=5"
        with as_app(github) as api:
            while address:
                answer = api.get(address)
                found += [row["id"] for row in answer.json()]
                address = answer.links.get("next", {}).get("url", "")
        return found

    everything = [one.id for one in github.hooks.deliveries()]
    assert list_delivery_ids() == everything
    assert not set(everything) & {one.id for one in late}
    assert everything != sorted(everything, reverse=True)
    clock.move(hours=2)
    assert list_delivery_ids()[3:6] == [one.id for one in late], "in the place that is theirs by their time"
    clock.move(hours=71)
    assert list_delivery_ids() == []
