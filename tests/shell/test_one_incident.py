"""Plays one whole incident, from the report to the merged postmortem."""

from __future__ import annotations

from tests.shell.night import SEV1, Night


def test_from_the_report_to_the_merged_postmortem(tonight: Night) -> None:
    shop, mona, ada = tonight.shop, tonight.github.person("mona"), tonight.github.person("ada")
    number = tonight.github.person("stranger").opens(shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    assert tonight.labels(number) == {"incident", "sev1"}
    assert tonight.board(number).startswith("## 🚨 INC-2026-0314-001 ")
    assert len(tonight.notices(number)) == 1
    assert "@mona" in tonight.notices(number)[0]

    tonight.run_for(minutes=6)
    assert "@hubot" in tonight.notices(number)[-1]

    comment = mona.comments(shop, number, "/ack")
    tonight.advance_and_settle()
    assert "acknowledged" in tonight.labels(number)
    assert [reaction.content for reaction in comment.reactions] == ["+1"]

    ada.labels(shop, number, "sev2")
    tonight.advance_and_settle()
    assert tonight.labels(number) == {"incident", "sev2", "acknowledged"}

    mona.comments(shop, number, "/resolve the pool is larger now")
    tonight.advance_and_settle()
    assert tonight.labels(number) == {"incident", "sev2", "resolved"}

    mona.closes(shop, number)
    tonight.advance_and_settle()
    (pull,) = [issue for issue in shop.issues.values() if issue.pull is not None]
    assert "postmortem-due" in tonight.labels(number)
    ada.merges(shop, pull.number)
    tonight.advance_and_settle()
    assert "postmortem-due" not in tonight.labels(number)
    assert "INC-2026-0314-001" in shop.file("docs/incidents/postmortems/2026/INC-2026-0314-001.md")
