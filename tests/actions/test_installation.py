"""An installation in earnest, from an empty cache and by the locked hashes.  It takes long: MUSTER_SOAK=1 runs it."""

from __future__ import annotations

import os
import time

import pytest

from tests.actions.conftest import Desk
from tests.runner.test_check_policy import FASTER
from tests.soak import soaking

_OF_THE_MACHINE = ("PIP_", "SSL_", "REQUESTS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""How this machine reaches its packages, as a self-hosted runner would be told."""


@pytest.mark.skipif(not soaking(), reason="installs from the package index: only with MUSTER_SOAK")
def test_the_first_run_installs_and_the_next_finds_it(desk: Desk) -> None:
    desk.cache.warm = None
    desk.machine.environment |= {k: v for k, v in os.environ.items() if k.upper().startswith(_OF_THE_MACHINE)}
    payload = desk.runner.proposes(FASTER)
    began = time.monotonic()
    done = desk.runs("check-policy", "pull_request", payload)
    first = time.monotonic() - began
    assert done.ok, done.log
    assert done.outputs == {"valid": "true", "faults": "0"}
    assert done.steps["Keep the environment"] == "success"
    for path in list(desk.machine.temp.iterdir()):
        path.rename(desk.machine.folder / "gone")
    began = time.monotonic()
    again = desk.runs("check-policy", "pull_request", payload)
    assert again.outputs == done.outputs
    assert again.steps["Keep the environment"] == "skipped"
    assert time.monotonic() - began < first
