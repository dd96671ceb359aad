"""On-call feeds: who is paged by them, and what happens when they cannot be fetched."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app import settings
from app.core.on_call import people_of
from app.core.policy import Policy, Rotation
from app.policy_source.active_policy import ActivePolicy
from app.policy_source.on_call_feeds import OnCallFeeds
from app.ports import DeliveryFailed, Repository
from app.safe_http import SafeHttpClient
from app.sandbox.github import world
from app.store.database import Database
from tests.shell.night import SEV1, Night, run_night

FILE = ".github/incidents.yml"
POLICY = """\
extends: guide
people:
  mona: {name: Mona Lisa, mail: mona@example.com}
  hubot: {name: Hubot}
contacts: {it-manager: [ada]}
rotations:
  on-call:
    people: [grace]
    timezone: Europe/Berlin
    feed: "FEED"
"""


def calendar_text(*shifts: str) -> str:
    """Return a calendar of `day summary` lines.

    Each shift is a day long; the days are those of March 2026.
    """
    events = "".join(
        f"BEGIN:VEVENT\r\nUID:{number}\r\nDTSTART;VALUE=DATE:202603{shift[:2]}\r\nSUMMARY:{shift[3:]}\r\nEND:VEVENT\r\n"
        for number, shift in enumerate(shifts)
    )
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n{events}END:VCALENDAR\r\n"


MONA, HUBOT = calendar_text("14 On call: Mona Lisa", "15 hubot"), calendar_text("14 hubot")


@pytest.fixture
def bare(database: Database) -> Iterator[Night]:
    with run_night(database, policy=None) as found:
        yield found


def push_file(tonight: Night, path: str, text: str | None, repository: world.Repository | None = None) -> None:
    tonight.github.person("ada").pushes(repository or tonight.shop, path, text)
    tonight.advance_and_settle()


def use_feed(tonight: Night, feed: str, text: str | None = None) -> None:
    """Make the policy name that feed; given a text, push it there first."""
    if text is not None:
        push_file(tonight, feed, text)
    push_file(tonight, FILE, POLICY.replace("FEED", feed))


def open_incident(tonight: Night) -> int:
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    return number


def load_active_policy(tonight: Night) -> ActivePolicy:
    ctx, repository = tonight.application.ctx, Repository(tonight.shop.id, "octo/shop", tonight.installation)
    return ctx.policies.load(ctx.database, ctx.tracker(repository), repository, tonight.clock())


def list_on_call(tonight: Night) -> tuple[str, ...]:
    return people_of(("on-call",), load_active_policy(tonight).policy, tonight.clock())


def list_feed_notices(tonight: Night) -> list[str]:
    return [body for issue in tonight.shop.issues for body in tonight.notices(issue) if "feed:" in body]


@dataclass
class CalendarSite:
    """A web server on loopback with one calendar, which records the `If-None-Match` header of each request."""

    text: str = MONA
    status: int = 200
    delay_seconds: float = 0.0
    etag: str = ""
    request_etags: list[str] = field(default_factory=list)
    port: int = 0

    def create_client(self) -> SafeHttpClient:
        def resolve_to_loopback(host: str, port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        return SafeHttpClient(resolve=resolve_to_loopback, loopback=True)

    @property
    def url(self) -> str:
        return f"http://feeds.example:{self.port}/secret/on-call.ics"


@pytest.fixture
def site() -> Iterator[CalendarSite]:
    found = CalendarSite()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            etag = found.etag or f'"{hash(found.text)}"'
            found.request_etags.append(self.headers.get("If-None-Match", ""))
            time.sleep(found.delay_seconds)
            unchanged = found.status == 200 and found.request_etags[-1] == etag
            body = b"" if unchanged else found.text.encode()
            if found.delay_seconds:
                return  # the client has given up
            self.send_response(304 if unchanged else found.status)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_whoever_the_feed_names_is_paged_and_after_a_change_another(bare: Night) -> None:
    use_feed(bare, "rotas/on-call.ics", MONA)
    number = open_incident(bare)
    assert "@mona" in bare.notices(number)[0]
    push_file(bare, "rotas/on-call.ics", HUBOT)
    bare.run_for(minutes=6)
    assert "@hubot" in bare.notices(number)[-1], "a push that touches it is enough"
    assert load_active_policy(bare).problems == ()


def test_a_day_of_the_feed_ends_by_the_zone_of_the_rotation(bare: Night) -> None:
    use_feed(bare, "on-call.ics", MONA)
    bare.clock.at = datetime(2026, 3, 14, 22, 59, tzinfo=UTC)
    assert list_on_call(bare) == ("mona",)
    bare.clock.at += timedelta(minutes=1)
    assert list_on_call(bare) == ("hubot",), "midnight in Berlin"


def test_before_a_feed_was_read_the_turns_hold(bare: Night) -> None:
    use_feed(bare, "on-call.ics")
    assert list_on_call(bare) == ("grace",)
    number = open_incident(bare)
    assert "@grace" in bare.notices(number)[0]
    (found,) = list_feed_notices(bare)
    assert f"{FILE}: rotations.on-call.feed: 'on-call.ics' cannot be used" in found
    assert "no such file" in found


def test_a_feed_that_is_gone_holds_as_it_was_last_and_is_told_once(bare: Night) -> None:
    use_feed(bare, "on-call.ics", MONA)
    number = open_incident(bare)
    push_file(bare, "on-call.ics", None)
    assert list_on_call(bare) == ("mona",)
    assert len(list_feed_notices(bare)) == 1
    assert "what was last read holds" in list_feed_notices(bare)[0]
    bare.run_for(minutes=35)
    open_incident(bare)
    assert len(list_feed_notices(bare)) == 1
    assert any("page0.3" in key for key in bare.list_posted_keys(number)), "the clocks run on"
    push_file(bare, "on-call.ics", HUBOT)
    assert (list_on_call(bare), load_active_policy(bare).problems) == (("hubot",), ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<html>Sign in</html>", "no iCalendar"),
        (MONA.replace("SUMMARY:", "RRULE:FREQ=SECONDLY\r\nSUMMARY:"), "repeats secondly"),
        (MONA.replace("SUMMARY:", "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30\r\nSUMMARY:"), "too long to read"),
        ("BEGIN:VCALENDAR\n" * 20, "nested"),
        ("x" * (1024 * 1024 + 1), "larger than 1048576 bytes"),
    ],
)
def test_a_feed_that_cannot_be_read_changes_nothing(bare: Night, text: str, why: str) -> None:
    use_feed(bare, "on-call.ics", MONA)
    open_incident(bare)
    push_file(bare, "on-call.ics", text)
    assert list_on_call(bare) == ("mona",)
    (found,) = list_feed_notices(bare)
    assert why in found


def test_people_whom_the_policy_does_not_know_are_told_once_and_skipped(bare: Night) -> None:
    use_feed(bare, "on-call.ics", calendar_text("14 Linus of Infra", "14 secondary: hubot", "15 @everyone on call"))
    open_incident(bare)
    assert list_on_call(bare) == ("hubot",)
    found = "\n".join(list_feed_notices(bare))
    assert "Linus of Infra" in found
    assert "@everyone" not in found, "text from a feed mentions no account"
    assert "everyone on call" in found
    count = len(list_feed_notices(bare))
    push_file(bare, "on-call.ics", calendar_text("14 mona", "16 Linus of Infra"))
    open_incident(bare)
    assert (list_on_call(bare), len(list_feed_notices(bare))) == (("mona",), count), (
        "the same unknown person is not reported again"
    )


def test_a_path_in_the_organisation_s_file_stands_in_its_repository(bare: Night) -> None:
    files = {FILE: POLICY.replace("FEED", "on-call.ics"), "on-call.ics": MONA}
    above = bare.github.add_repository("octo/.github", files=files)
    above.permit("ada", "write")
    bare.github.hooks.settle()
    number = open_incident(bare)
    assert "@mona" in bare.notices(number)[0]
    push_file(bare, "on-call.ics", HUBOT, above)
    assert list_on_call(bare) == ("hubot",)
    push_file(bare, FILE, "extends: org\n")
    assert list_on_call(bare) == ("hubot",), "also where a repository builds on it"
    push_file(bare, "on-call.ics", None, above)
    (found,) = list_feed_notices(bare)
    assert f"octo/.github: {FILE}: rotations.on-call.feed" in found


@pytest.mark.parametrize(
    "path", ["../../other/contents/on-call.ics", "a/../on-call.ics", "/on-call.ics", "a//b.ics", ""]
)
def test_a_path_cannot_leave_the_repository(bare: Night, path: str) -> None:
    tracker = bare.application.ctx.tracker(Repository(bare.shop.id, "octo/shop", bare.installation))
    mark = bare.github.call_log_position()
    for organisation in (True, False):
        with pytest.raises(DeliveryFailed, match="not a path in a repository"):
            tracker.feed(path, "", organisation=organisation)
    assert bare.github.calls_since(mark) == []


def test_a_name_with_odd_letters_is_still_a_name(bare: Night) -> None:
    use_feed(bare, "rotas/on-call-1+2,Köln.ics", MONA)
    assert list_on_call(bare) == ("mona",)


def test_an_address_is_asked_every_quarter_of_an_hour_and_gives_its_etag(bare: Night, site: CalendarSite) -> None:
    bare.http_client = site.create_client()
    bare.feeds = {"FEED_ONCALL": site.url}
    bare.restart()
    use_feed(bare, "env:FEED_ONCALL")
    number = open_incident(bare)
    assert "@mona" in bare.notices(number)[0]
    request_count = len(site.request_etags)
    bare.run_for(minutes=13)
    assert len(site.request_etags) == request_count == 1
    site.text = HUBOT
    bare.run_for(minutes=5)
    assert len(site.request_etags) == 2
    assert site.request_etags[0] == ""
    assert site.request_etags[1].startswith('"')
    assert list_on_call(bare) == ("hubot",)
    bare.run_for(minutes=31)
    assert len(site.request_etags) <= 5


def test_a_server_that_is_away_for_a_moment_is_no_fault_and_one_that_stays_away_is(
    bare: Night, site: CalendarSite
) -> None:
    bare.http_client = site.create_client()
    bare.feeds = {"FEED_ONCALL": site.url}
    bare.restart()
    use_feed(bare, "env:FEED_ONCALL")
    open_incident(bare)
    site.status = 503
    bare.run_for(minutes=59)
    assert (list_on_call(bare), list_feed_notices(bare)) == (("mona",), [])
    bare.run_for(minutes=61)
    assert list_on_call(bare) == ("mona",)
    (found,) = list_feed_notices(bare)
    assert "'env:FEED_ONCALL' cannot be used, feeds.example answered 503" in found.replace("\\", "")
    assert "secret" not in found
    bare.run_for(minutes=61)
    assert len(list_feed_notices(bare)) == 1
    site.status = 200
    bare.clock.at += timedelta(minutes=16)
    assert load_active_policy(bare).problems == ()


def test_a_feed_that_is_gone_from_its_server_is_told_at_once(bare: Night, site: CalendarSite) -> None:
    bare.http_client = site.create_client()
    bare.feeds = {"FEED_ONCALL": site.url}
    bare.restart()
    use_feed(bare, "env:FEED_ONCALL")
    open_incident(bare)
    site.status = 404
    bare.run_for(minutes=16)
    assert list_on_call(bare) == ("mona",)
    assert len(list_feed_notices(bare)) == 1


@pytest.mark.parametrize("etag", ['"a\x00b"', '"\xff"', '"' + "a" * 5000 + '"'])
def test_an_etag_that_is_none_is_not_kept(bare: Night, site: CalendarSite, etag: str) -> None:
    site.etag = etag
    bare.http_client = site.create_client()
    bare.feeds = {"FEED_ONCALL": site.url}
    bare.restart()
    use_feed(bare, "env:FEED_ONCALL")
    assert list_on_call(bare) == ("mona",)
    bare.clock.at += timedelta(minutes=16)
    assert list_on_call(bare) == ("mona",)
    assert site.request_etags == ["", ""]


def test_a_variable_names_a_file_or_nothing(bare: Night, tmp_path: Path) -> None:
    file = tmp_path / "on-call.ics"
    file.write_text(MONA)
    bare.feeds = {"FEED_ONCALL": str(file), "FEED_FOLDER": str(tmp_path), "FEED_MISSING": str(tmp_path / "missing.ics")}
    bare.restart()
    use_feed(bare, "env:FEED_ONCALL")
    assert list_on_call(bare) == ("mona",)
    file.write_text(HUBOT)
    bare.clock.at += timedelta(minutes=16)
    assert list_on_call(bare) == ("hubot",)
    unset = "only the operator of Muster can set it up"
    for name, why in (("FEED_FOLDER", "is no file"), ("FEED_MISSING", "cannot be read"), ("FEED_UNSET", unset)):
        use_feed(bare, f"env:{name}")
        (fault,) = load_active_policy(bare).faults
        assert f"'env:{name}' cannot be used" in fault
        assert why in fault
        assert str(tmp_path) not in fault


def test_an_address_inside_is_not_asked(bare: Night, site: CalendarSite) -> None:
    bare.http_client = SafeHttpClient(resolve=lambda host, port: ["127.0.0.1"])
    bare.restart()
    use_feed(bare, "https://feeds.example/secret/on-call.ics")
    found = load_active_policy(bare)
    assert "'https://feeds.example/…' cannot be used" in found.faults[0]
    assert "not on the public Internet" in found.faults[0]
    assert "secret" not in found.faults[0]
    assert site.request_etags == []


def test_what_lies_ahead_moves_on_while_the_text_stays_the_same(bare: Night) -> None:
    daily = calendar_text("14 mona").replace("SUMMARY:", "RRULE:FREQ=DAILY\r\nSUMMARY:")
    use_feed(bare, "on-call.ics", daily)
    for _ in range(4):
        assert list_on_call(bare) == ("mona",)
        bare.clock.at += timedelta(days=45)


def test_only_what_can_be_a_feed_is_taken_from_the_environment() -> None:
    environment = {
        "FEED_ONCALL": "https://feeds.example/on-call.ics",
        "FEED_ROTA": "/etc/muster/rota.ics",
        "FEED_ROTA_FOR": "octo/shop, hub",
        "ROTA": "/etc/muster/rota.ics",
        "SECRET": "hunter2",
        "DATABASE_URL": "postgresql://muster:secret@db/muster",
        "KEY_FILE": "/etc/muster/key.pem",
        "FEED_RELATIVE": "rota.ics",
        "FEED_PLAIN": "http://feeds.example/on-call.ics",
        "FEED_ROTA_2_FOR": "octo//shop",
    }
    found = settings.read_settings(environment)
    assert set(found.feeds) == {"FEED_ONCALL", "FEED_ROTA", "FEED_ROTA_FOR", "FEED_ROTA_2_FOR"}
    assert [warning.partition(":")[0] for warning in found.warnings] == [
        "FEED_RELATIVE",
        "FEED_PLAIN",
        "FEED_ROTA_2_FOR",
    ]
    assert "feeds.example" not in repr(found), "such an address is often a secret"


def test_a_rebuild_fetches_the_feed_again(bare: Night) -> None:
    use_feed(bare, "on-call.ics", MONA)
    number = open_incident(bare)
    before = bare.list_posted_keys(number)
    bare.lose_and_rebuild_database()
    bare.advance_and_settle()
    assert list_on_call(bare) == ("mona",)
    assert bare.list_posted_keys(number) == before


def test_the_feeds_of_a_policy_share_their_time(bare: Night, site: CalendarSite) -> None:
    site.delay_seconds = 2.0
    feeds = OnCallFeeds(
        site.create_client(), {f"FEED_{number}": f"{site.url}?{number}" for number in range(5)}, timeout_seconds=0.5
    )
    policy = Policy(
        rotations={f"r{number}": Rotation(people=("ada",), feed=f"env:FEED_{number}") for number in range(5)}
    )
    repository = Repository(bare.shop.id, "octo/shop", bare.installation)
    tracker = bare.application.ctx.tracker(repository)
    began = time.monotonic()
    filled, wrong = feeds.fill_rotations(bare.database, tracker, repository, policy, None, bare.clock())
    assert time.monotonic() - began < 6, "one after the other they would take ten"
    assert [one.rotation for one in wrong] == ["r0"], "the others were not asked, and are the next time"
    assert people_of(("r0", "r4"), filled, bare.clock()) == ("ada",)
