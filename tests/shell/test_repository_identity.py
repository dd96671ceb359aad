"""A repository is known by its id: its name may be another's, and a delivery proves no installation (FC-S11, FC-S12)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.ports import DeliveryFailed, IncidentKey, Repository
from app.sandbox.github.world import Repository as SandboxRepository
from app.store import incidents
from app.store.database import Database
from app.worker.pipeline.uninstall import delete_uninstalled
from app.worker.sync.reconciler import Reconciler
from tests.shell.night import POLICY, SEV1, Night, run_night

ORG_POLICY = POLICY.replace("mona, hubot", "grace")


@pytest.fixture
def bare(database: Database) -> Iterator[Night]:
    """Yield a night in a repository without a policy file."""
    with run_night(database, policy=None) as found:
        yield found


def open_incident(tonight: Night) -> int:
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    return number


def list_alarm_keys(tonight: Night) -> list[str]:
    with tonight.database.transaction() as db:
        return [key for _, key, _ in incidents.list_alarms(db)]


def load_repository(tonight: Night, repo_id: int) -> Repository:
    with tonight.database.transaction() as db:
        found = incidents.load_repository(db, repo_id)
    assert found is not None
    return found


def take_over_name(tonight: Night, *, install: bool, tell: bool = False) -> SandboxRepository:
    """Rename the shop, and give its old name to a public repository with an issue of the same number."""
    url = tonight.github.hooks.url
    if not tell:
        tonight.github.hooks.url = None
    tonight.github.rename_repository(tonight.shop, "shop-private")
    other = tonight.github.add_repository(
        "octo/shop", files={".github/incidents.yml": "extends: nonsense\n"}, install=install
    )
    tonight.github.hooks.url = url
    tonight.github.person("mona").opens(other, "Something else", "nothing happened")
    return other


@pytest.mark.parametrize("install", [True, False])
@pytest.mark.parametrize("tell", [True, False])
def test_fc_s11_pages_go_to_the_repository_and_not_to_its_name(tonight: Night, *, install: bool, tell: bool) -> None:
    number = open_incident(tonight)
    assert number == 1
    before = len(tonight.notices(number))
    other = take_over_name(tonight, install=install, tell=tell)
    tonight.run_for(minutes=20)
    assert len(tonight.notices(number)) > before, "the pages go on"
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    assert "acknowledged" in tonight.labels(number), "policy and rights are those of the repository, too"
    assert other.issue(1).comments == []
    assert other.issue(1).labels == []
    assert not other.issue(1).reactions


def test_fc_s11_comparisons_and_a_rebuild_find_it_by_its_id(tonight: Night) -> None:
    number = open_incident(tonight)
    other = take_over_name(tonight, install=True)
    tonight.run_for(minutes=5)
    before = tonight.incident(number)
    Reconciler(tonight.application.ctx, tonight.application.client).run_now(lambda line: None, deep=True)
    tonight.settle()
    assert tonight.incident(number).status == before.status
    assert load_repository(tonight, tonight.shop.id).name == "octo/shop-private"
    tonight.lose_and_rebuild_database()
    assert tonight.incident(number).id == before.id
    assert other.issue(1).comments == []


def test_fc_s11_two_repositories_with_one_name_are_told_apart(tonight: Night) -> None:
    number = open_incident(tonight)
    other = take_over_name(tonight, install=True)
    # The first delivery of the other one makes two repositories with one name in the store.
    tonight.github.person("mona").comments(other, 1, "hello")
    tonight.settle()
    tonight.run_for(minutes=2)
    assert load_repository(tonight, other.id).name == "octo/shop"
    tonight.github.person("mona").comments(tonight.shop, number, "/update on it")
    tonight.advance_and_settle()
    assert load_repository(tonight, tonight.shop.id).name == "octo/shop-private", "the outdated name was asked for"
    assert other.issue(1).labels == []


def test_fc_s11_the_organisations_policy_is_its_own_after_a_rename(bare: Night) -> None:
    github = bare.github
    github.add_repository("octo/.github", files={".github/incidents.yml": ORG_POLICY})
    number = open_incident(bare)
    assert "@grace" in bare.notices(number)[0]
    # The organisation is renamed, and a stranger takes its name, with a policy that calls nobody but him.
    world = github.world
    for repository in list(world.repositories.values()):
        del world.repositories[repository.full_name.lower()]
    owner = world.accounts.pop("octo")
    owner.login = "octo-corp"
    world.accounts["octo-corp"] = owner
    for repository in owner_repositories(bare):
        world.repositories[repository.full_name.lower()] = repository
    github.add_repository("octo/.github", files={".github/incidents.yml": POLICY.replace("mona, hubot", "stranger")})
    bare.clock.at += timedelta(hours=3)
    ctx = bare.application.ctx
    active = ctx.policies.load(
        ctx.database,
        ctx.tracker(load_repository(bare, bare.shop.id)),
        load_repository(bare, bare.shop.id),
        bare.clock(),
    )
    assert active.policy.contacts["on-call"] == ("grace",)


def owner_repositories(night: Night) -> list[SandboxRepository]:
    assert night.shop.installation is not None
    return list(night.shop.installation.repositories.values())


def deliver_with_installation(tonight: Night, number: int, installation: int) -> None:
    """Store a delivery about the issue that names that installation."""
    issue = tonight.github.serializer.issue(tonight.shop.issue(number))
    comment: dict[str, Any] = {
        "id": 77,
        "body": "just a word",
        "user": {"login": "stranger", "type": "User"},
        "created_at": tonight.clock().isoformat(),
        "updated_at": tonight.clock().isoformat(),
    }
    payload = {
        "action": "created",
        "issue": {**issue, "updated_at": (tonight.clock() + timedelta(seconds=1)).isoformat(), "labels": []},
        "comment": comment,
        "repository": {"id": tonight.shop.id, "full_name": "octo/elsewhere", "default_branch": "main"},
        "installation": {"id": installation},
        "sender": {"login": "stranger", "type": "User"},
    }
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, f"claim-{installation}", "issue_comment", json.dumps(payload).encode())


@pytest.mark.parametrize("known_elsewhere", [True, False])
def test_fc_s12_a_delivery_that_names_another_installation_changes_nothing(
    tonight: Night, *, known_elsewhere: bool
) -> None:
    number = open_incident(tonight)
    site = tonight.github.add_repository("acme/site")
    tonight.settle()
    assert site.installation is not None
    claimed = site.installation.id if known_elsewhere else 999_999
    before, installation = len(tonight.notices(number)), tonight.installation
    with capture_logs() as logs:
        deliver_with_installation(tonight, number, claimed)
        tonight.settle()
    assert any("security" in str(line["event"]) for line in logs)
    assert load_repository(tonight, tonight.shop.id) == Repository(tonight.shop.id, "octo/shop", installation)
    assert tonight.load_delivery_states()[f"claim-{claimed}"] == "processed"
    tonight.run_for(minutes=15)
    assert len(tonight.notices(number)) > before
    assert tonight.incident(number).unavailable == ""


def test_fc_s12_while_github_does_not_answer_the_known_installation_counts(tonight: Night) -> None:
    number = open_incident(tonight)
    before = len(tonight.notices(number))
    tonight.github.faults.add("status", status=502, path="/installation", times=3)
    deliver_with_installation(tonight, number, 999_999)
    tonight.run_for(minutes=15)
    assert len(tonight.notices(number)) > before
    assert load_repository(tonight, tonight.shop.id).installation == tonight.installation


@pytest.mark.parametrize("tell", [True, False])
def test_ts_38_an_app_that_is_installed_anew_is_found_under_its_new_number(tonight: Night, *, tell: bool) -> None:
    """Also when no delivery tells of it: GitHub answers 404 to the old number, and that ends no incident."""
    number = open_incident(tonight)
    before, old = len(tonight.notices(number)), tonight.installation
    url = tonight.github.hooks.url
    if not tell:
        tonight.github.hooks.url = None
    tonight.github.uninstall("octo")
    tonight.github.install(tonight.shop)
    tonight.github.hooks.url = url
    assert tonight.installation != old
    tonight.restart()  # without the tokens of the old one
    tonight.run_for(minutes=15)
    assert load_repository(tonight, tonight.shop.id).installation == tonight.installation
    assert tonight.incident(number).unavailable == ""
    assert len(tonight.notices(number)) > before
    assert len(tonight.list_posted_keys(number)) == len(set(tonight.list_posted_keys(number)))


def test_fc_g5_access_that_is_given_back_brings_the_alarms_back_at_once(tonight: Night) -> None:
    number = open_incident(tonight)
    before = tonight.list_posted_keys(number)
    tonight.github.uninstall("octo", tonight.shop)
    tonight.settle()
    for _ in range(6):
        tonight.clock.at += timedelta(minutes=1)
        tonight.settle()
    assert list_alarm_keys(tonight) == []
    tonight.github.install(tonight.shop)
    tonight.settle()
    after = tonight.list_posted_keys(number)
    assert len(after) > len(before)
    assert len(after) == len(set(after)), "what fell due is said once"
    comments = len(tonight.notices(number))
    tonight.settle()
    assert len(tonight.notices(number)) == comments
    assert list_alarm_keys(tonight) != []
    tonight.clock.at += timedelta(hours=2)
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 0


def test_fc_g5_what_another_installation_loses_is_no_loss(tonight: Night) -> None:
    """A late `removed` of the owner before, say after the repository was transferred."""
    number = open_incident(tonight)
    alarms = list_alarm_keys(tonight)
    payload = {
        "action": "removed",
        "installation": {"id": 999_999},
        "repositories_added": [],
        "repositories_removed": [{"id": tonight.shop.id, "full_name": "octo/shop"}],
    }
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "late", "installation_repositories", json.dumps(payload).encode())
    tonight.settle()
    assert list_alarm_keys(tonight) == alarms
    assert tonight.incident(number).unavailable == ""


def test_fc_g5_an_old_removal_is_undone_when_github_says_otherwise(tonight: Night) -> None:
    number = open_incident(tonight)
    before = len(tonight.notices(number))
    payload = {
        "action": "removed",
        "installation": {"id": tonight.installation},
        "repositories_added": [],
        "repositories_removed": [{"id": tonight.shop.id, "full_name": "octo/shop"}],
    }
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "old", "installation_repositories", json.dumps(payload).encode())
    tonight.settle()
    tonight.clock.at += timedelta(minutes=3)
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 0
    tonight.run_for(minutes=10)
    assert len(tonight.notices(number)) > before


def test_fc_g5_a_suspension_that_ends_is_noticed_at_once(tonight: Night) -> None:
    number = open_incident(tonight)
    before = len(tonight.notices(number))
    tonight.github.suspend("octo")
    tonight.run_for(minutes=6)
    assert len(tonight.notices(number)) == before
    tonight.github.unsuspend("octo")
    tonight.settle()
    assert len(tonight.notices(number)) > before


def test_fc_g5_accepted_permissions_are_noticed_by_tokens_that_were_made_before(tonight: Night) -> None:
    """Every process renews a token that lacks a permission, once, however long it would be valid."""
    path = f"/repos/octo/shop/issues/{open_incident(tonight)}"
    assert tonight.shop.installation is not None
    granted = tonight.shop.installation.permissions
    accepted = {name: granted.pop(name) for name in ("issues", "pull_requests")}
    tonight.restart()
    client = tonight.application.client
    with pytest.raises(DeliveryFailed, match="not accessible"):
        client.call(tonight.installation, "GET", path)
    tonight.github.accept_permissions("octo", accepted)
    tonight.clock.at += timedelta(minutes=2)
    assert client.call(tonight.installation, "GET", path).status == 200
    for name in accepted:
        granted.pop(name)
    mark = tonight.github.call_log_position()
    tonight.restart()
    for _ in range(3):
        with pytest.raises(DeliveryFailed, match="not accessible"):
            tonight.application.client.call(tonight.installation, "GET", path)
    tokens = [call for call in tonight.github.calls_since(mark) if call.path.endswith("/access_tokens")]
    assert len(tokens) == 2, "one, and one more that might have had the permission"


def test_fc_g5_what_waits_for_a_permission_is_due_when_it_is_accepted(tonight: Night) -> None:
    number = open_incident(tonight)
    key = IncidentKey(tonight.shop.id, number)
    with tonight.database.transaction() as db:
        db.execute(
            "UPDATE outbox SET state = 'pending', not_before = %s WHERE key = 'show/board'",
            (tonight.clock() + timedelta(days=1),),
        )
    tonight.github.accept_permissions("octo", {"issues": "write"})
    tonight.settle()
    with tonight.database.transaction() as db:
        row = db.execute(
            "SELECT state FROM outbox WHERE key = 'show/board' AND repo_id = %s", (key.repo_id,)
        ).fetchone()
    assert row is not None
    assert row["state"] == "done"
