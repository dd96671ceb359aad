"""One operator, several tenants: a policy of one reaches no channel and no feed of another (FC-S3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.bootstrap import create_reconciler
from app.sandbox.github import world
from app.store import policies
from app.store.database import Database
from app.store.incidents import count_installations
from app.store.policies import PolicyScope
from app.tenancy import Tenant, find_refusal, parse_tenants
from tests.shell.night import POLICY, SEV1, Night, run_night
from tests.shell.sink import Sink, connect_sink, run_sink
from tests.shell.test_feeds import calendar_text

FILE = ".github/incidents.yml"
PAGES_BY_CHANNEL = (
    "extends: guide\npeople: {mallory: {}}\ncontacts: {on-call: mallory}\n"
    "first-notice: {sev1: {via: chat}}\nchannels: {theirs: {url: env:CHANNEL_OPS, for: [chat]}}\n"
)
WITH_FEED = POLICY + "rotations: {night: {people: [grace], feed: env:FEED_NIGHT}}\n"
OTHER_WITH_FEED = (
    "extends: guide\npeople: {mallory: {}}\nrotations: {on-call: {people: [mallory], feed: env:FEED_NIGHT}}\n"
)


@dataclass
class TwoTenants:
    """Two installations: octo/shop is the operator's, hub/tools somebody else's."""

    night: Night
    sink: Sink
    tools: world.Repository

    def set_variables(self, **variables: str) -> None:
        night = self.night
        night.channels = {**night.channels, **{name: text for name, text in variables.items() if "CHANNEL" in name}}
        night.feeds = {name: text for name, text in variables.items() if "FEED" in name}
        night.restart()

    def push(self, repository: world.Repository, policy: str, person: str) -> None:
        self.night.github.person(person).pushes(repository, FILE, policy)
        self.night.advance_and_settle()

    def open_in_tools(self) -> world.Issue:
        number = self.night.github.person("mallory").opens(self.tools, "Down", SEV1, ["incident"])
        self.night.advance_and_settle()
        return self.tools.issue(number)

    def comments(self, issue: world.Issue) -> str:
        return "\n".join(comment.body for comment in issue.comments).replace("\\", "")


@pytest.fixture
def two(database: Database) -> Iterator[TwoTenants]:
    with run_night(database) as tonight, run_sink(tonight.clock) as sink:
        connect_sink(tonight, sink)
        tonight.github.add_person("mallory")
        tools = tonight.github.add_repository("hub/tools", files={"README.md": "# tools\n"})
        tools.permit("mallory", "admin")
        tonight.github.hooks.settle()
        yield TwoTenants(tonight, sink, tools)


@pytest.mark.parametrize("variable", ["", "octo", "octo/shop, octo/other", "hub/tool", "hub-2", "hub/tools/x"])
def test_fc_s3_another_tenant_pages_nobody_by_my_channel(two: TwoTenants, variable: str) -> None:
    """FC-S3: without `_FOR` a channel serves the only installation, and none where there are several."""
    two.set_variables(CHANNEL_OPS_FOR=variable)
    two.push(two.tools, PAGES_BY_CHANNEL, "mallory")
    issue = two.open_in_tools()
    two.night.advance_and_settle()
    assert two.sink.requests == []
    assert "env:CHANNEL_OPS is no channel of this repository" in two.comments(issue)


def test_fc_s3_what_is_refused_sounds_like_what_does_not_exist(two: TwoTenants) -> None:
    two.set_variables(CHANNEL_OPS_FOR="octo")
    two.push(two.tools, PAGES_BY_CHANNEL, "mallory")
    refused = two.comments(two.open_in_tools())
    two.push(two.tools, PAGES_BY_CHANNEL.replace("_OPS", "_XYZ"), "mallory")
    unknown = two.comments(two.open_in_tools())
    assert "env:CHANNEL_OPS is no" in refused
    (one,), (other,) = ([line for line in text.splitlines() if "is no channel" in line] for text in (refused, unknown))
    assert one == other.replace("_XYZ", "_OPS")


@pytest.mark.parametrize("variable", ["hub", "octo,HUB/Tools", "@Hub", "hub/*", "octo hub/tools"])
def test_fc_s3_a_tenant_that_the_operator_lists_is_served(two: TwoTenants, variable: str) -> None:
    two.set_variables(CHANNEL_OPS_FOR=variable)
    two.push(two.tools, PAGES_BY_CHANNEL, "mallory")
    two.open_in_tools()
    assert len(two.sink.accepted) == 1


def test_fc_s3_the_only_installation_is_served_without_a_list(database: Database) -> None:
    policy = POLICY + "first-notice: {sev1: {via: chat}}\nchannels: {ops: {url: env:CHANNEL_OPS, for: [chat]}}\n"
    with run_night(database, policy) as tonight, run_sink(tonight.clock) as sink:
        connect_sink(tonight, sink)
        tonight.github.person("stranger").opens(tonight.shop, "Down", SEV1, ["incident"])
        tonight.settle()
        assert len(sink.accepted) == 1


def test_fc_s3_github_says_how_many_installations_there_are(two: TwoTenants) -> None:
    """An installation that has sent nothing yet counts, once the reconciler has asked GitHub."""
    night = two.night
    night.advance_and_settle()
    with night.database.transaction() as db:
        db.execute("DELETE FROM repository WHERE repo_id = %s", (night.shop.id,))
        only = two.tools.installation
        assert only is not None
        db.execute(
            "INSERT INTO repository (repo_id, name, installation, default_branch) VALUES (%s, 'hub/tools', %s, 'main')"
            " ON CONFLICT (repo_id) DO NOTHING",
            (two.tools.id, only.id),
        )
        assert count_installations(db, only.id) == (1, False)
    create_reconciler(night.application).run_due()
    with night.database.transaction() as db:
        assert count_installations(db, only.id) == (2, True)
        assert count_installations(db, 999) == (2, True)


def test_fc_s3_words_of_a_feed_of_the_operator_stand_in_no_public_text(
    two: TwoTenants, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """FC-S3: neither the tenant who may use the feed nor another one sees what its events are called."""
    file = tmp_path / "night.ics"
    file.write_text(calendar_text("14 Zaphod Beeblebrox", "14 mona", "15 Trillian Astra"))
    two.set_variables(FEED_NIGHT=str(file), FEED_NIGHT_FOR="octo")
    two.push(two.night.shop, WITH_FEED, "ada")
    number = two.night.github.person("stranger").opens(two.night.shop, "Down", SEV1, ["incident"])
    two.night.advance_and_settle()
    shown = two.comments(two.night.shop.issue(number))
    assert "'env:FEED_NIGHT': 2 events name nobody of `people`" in shown
    two.push(two.tools, OTHER_WITH_FEED, "mallory")
    shown_elsewhere = two.comments(two.open_in_tools())
    assert "'env:FEED_NIGHT' cannot be used, it is no feed of this repository" in shown_elsewhere
    assert "@mallory" in shown_elsewhere, "its turns hold"
    log = "".join(capfd.readouterr())
    for word in ("Zaphod", "Trillian"):
        assert word not in shown
        assert word not in shown_elsewhere
        assert word in log, "the operator's log has it"
    assert "mona" not in shown_elsewhere
    assert log.count("feed refused") == 1


def test_fc_s3_a_feed_read_before_is_of_no_use_to_others(two: TwoTenants, tmp_path: Path) -> None:
    """The store keeps a feed for all: what it holds must not fill the rotation of a tenant that may not use it."""
    file = tmp_path / "night.ics"
    file.write_text(calendar_text("14 @mona"))
    two.set_variables(FEED_NIGHT=str(file), FEED_NIGHT_FOR="octo/shop")
    two.push(two.night.shop, WITH_FEED, "ada")
    two.night.github.person("stranger").opens(two.night.shop, "Down", SEV1, ["incident"])
    two.night.advance_and_settle()
    two.push(two.tools, OTHER_WITH_FEED, "mallory")
    assert "mona" not in two.comments(two.open_in_tools())


def test_a_policy_in_force_since_an_earlier_release_keeps_its_people(two: TwoTenants) -> None:
    """A stored policy names `env:OPS_URL`: the channel is refused, and everything else of the policy goes on."""
    night, former = two.night, POLICY + "first-notice: {sev1: {via: chat}}\n"
    former += "channels: {ops: {url: env:OPS_URL, secret: env:OPS_SECRET, for: [chat]}}\n"
    night.github.person("stranger").opens(night.shop, "Warm up", SEV1, ["incident"])
    night.advance_and_settle()
    with night.database.transaction() as db:
        scope = PolicyScope.repository(night.shop.id)
        stored = policies.load_stored_policy(db, scope)
        policies.save_stored_policy(db, scope, replace(stored, text=former, checked_at=night.clock()))
    number = night.github.person("ada").opens(night.shop, "Down", SEV1, ["incident"])
    night.advance_and_settle()
    assert "@mona" in two.comments(night.shop.issue(number)), "its people are paged as before"
    assert "env:OPS_URL is no name of a channel: write `url: env:CHANNEL_NAME` alone" in two.comments(
        night.shop.issue(number)
    ).replace("\\", "")
    assert two.sink.requests == []


def test_a_list_of_tenants_is_read_in_any_case_and_what_is_none_is_named() -> None:
    assert parse_tenants(" Octo , @hub/Tools\nacme/* ,,") == (frozenset({"octo", "hub/tools", "acme"}), ())
    assert parse_tenants("*, https://github.com/octo, a//b") == (frozenset(), ("*", "https://github.com/octo", "a//b"))
    variables = {"FEED_A_FOR": "*"}
    assert "does not list octo/shop" in find_refusal("FEED_A", variables, Tenant("octo/shop", 1)), (
        "a faulty list is no open door"
    )
