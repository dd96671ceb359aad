"""Checks every call we make, and its response, against GitHub's OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openapi_core import OpenAPI

from tests.sandbox.conftest import shared_data
from tests.sandbox.test_contract import OpenApiRequest, OpenApiResponse, description, openapi
from tests.shell.night import SEV1, Night, Wire

__all__ = ["description", "openapi", "shared_data"]


class CheckedWire(Wire):
    """A wire that validates each call and its response against the OpenAPI description."""

    def __init__(self, openapi: OpenAPI, base: str) -> None:
        super().__init__()
        self.openapi, self.base = openapi, base
        self.calls: list[str] = []
        self.faults: list[str] = []

    def on_response(self, request: httpx.Request, response: httpx.Response) -> None:
        self.calls.append(request.method)
        try:
            sent = OpenApiRequest(request, self.base)
            self.openapi.validate_request(sent)
            if response.status_code not in (304, 404):
                self.openapi.validate_response(sent, OpenApiResponse(response))
        except Exception as fault:  # noqa: BLE001 - each fault is reported at the end
            details: Any = getattr(fault.__cause__, "schema_errors", None) or [fault, fault.__cause__]
            self.faults.append(f"{request.method} {request.url.path}: {[str(one)[:500] for one in details]}")


@pytest.fixture
def checked(tonight: Night, openapi: OpenAPI) -> Iterator[CheckedWire]:
    wire = CheckedWire(openapi, tonight.github.api_url)
    tonight.wire = wire
    tonight.restart()
    try:
        yield wire
    finally:
        wire.end()


def test_a_whole_life_and_a_rebuild_are_as_described(tonight: Night, checked: CheckedWire) -> None:
    shop, mona, ada = tonight.shop, tonight.github.person("mona"), tonight.github.person("ada")
    number = tonight.github.person("stranger").opens(shop, "Checkout is down", SEV1, ["incident"])
    tonight.run_for(minutes=6)
    for text in ("/ack", "/help", "/update we are on it", "/escalate", "/nonsense", "/resolve"):
        mona.comments(shop, number, text)
        tonight.advance_and_settle()
    ada.labels(shop, number, "sev2", "blue")
    (board,) = [one for one in shop.issue(number).comments if one.body.startswith("## ")]
    ada.deletes_comment(shop, board)
    tonight.advance_and_settle()
    mona.closes(shop, number)
    tonight.advance_and_settle()
    (pull,) = [issue.number for issue in shop.issues.values() if issue.pull is not None]
    ada.merges(shop, pull)
    tonight.advance_and_settle()
    before = tonight.dump_lines()
    tonight.lose_and_rebuild_database()
    tonight.expect(before)
    assert checked.faults == []
    assert set(checked.calls) == {"GET", "POST", "PATCH", "PUT", "DELETE"}
