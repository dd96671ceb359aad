"""Run the sandbox GitHub in a process of its own, with incidents and the deliveries about them.

Usage: `python -m bench.fake_github INCIDENTS FILE`.  Writes the deliveries to the file and prints one line of JSON for
the load generator: the API's URL and the App's credentials.  Then reads lines: for a webhook URL it opens one more
incident, delivers there and prints the milliseconds until the label is set; `stop` ends it.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from app.github.intake import shipped_form
from app.sandbox.demo.play import POLICY
from app.sandbox.github import Limits, SandboxGitHub
from app.sandbox.github.form_body import fill_form


def _now() -> datetime:
    return datetime.now(UTC)


def _create_incident(github: SandboxGitHub, index: int) -> None:
    """Open an incident and have people acknowledge, discuss, update and resolve it."""
    shop, kai = github.repository("octo/shop"), github.person("kai")
    severity = shipped_form().fields[1].options[index % 4]
    body = fill_form(
        shipped_form(), {"summary": f"Something is broken, {index}", "severity": severity, "symptoms": "x" * 3000}
    )
    number = github.person("jonas").opens(shop, f"[Incident]: number {index}", body, ["incident"])
    kai.comments(shop, number, "/ack")
    kai.comments(shop, number, "/update We look into it.")
    kai.comments(shop, number, "Just a remark, nothing to obey.")
    kai.labels(shop, number, "area/checkout")
    kai.comments(shop, number, "/resolve It is gone.")
    kai.comments(shop, number, "Thanks, all.")
    kai.edits_issue(shop, number, title=f"[Incident]: number {index}, resolved")


def main() -> None:
    """Serve until standard input ends or says `stop`."""
    incidents, file = int(sys.argv[1]), Path(sys.argv[2])
    github = SandboxGitHub(_now, limits=Limits(per_hour=10**9))
    github.start()
    shop = github.add_repository("octo/shop", files={".github/incidents.yml": POLICY})
    for login in ("mona", "kai", "ada", "grace"):
        github.add_person(login)
        shop.permit(login, "write")
    github.add_person("jonas")
    github.hooks.settle(60)
    github.hooks.hold()
    for number in range(incidents):
        _create_incident(github, number)
    # Kept out of GitHub's list of deliveries: listed as failed, they would be redelivered as well.
    deliveries = [
        {"headers": dict(delivery.headers), "body": base64.b64encode(delivery.body).decode()}
        for delivery in github.hooks.take_held_deliveries()
    ]
    file.write_text(json.dumps(deliveries))
    print(
        json.dumps(
            {
                "api_url": github.api_url,
                "app_id": github.app.app_id,
                "private_key": github.app.private_key_pem,
                "secret": github.app.webhook_secret,
            }
        ),
        flush=True,
    )
    for line in sys.stdin:
        if (url := line.strip()) == "stop":
            break
        # Deliver there from now on, and time one new incident from its delivery to its label.
        github.hooks.url = url
        number = github.person("jonas").opens(shop, "[Incident]: at rest", "### Severity\n\nSEV3\n", ["incident"])
        started = _now()
        while "sev3" not in shop.issue(number).labels and (_now() - started).total_seconds() < 20:
            time.sleep(0.001)
        print(json.dumps({"ms": (_now() - started).total_seconds() * 1000}), flush=True)
        github.hooks.settle(20)
    github.stop()


if __name__ == "__main__":
    main()
