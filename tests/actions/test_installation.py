"""A real installation from an empty cache and by the locked hashes; it takes long, so only MUSTER_SOAK=1 runs it."""

from __future__ import annotations

import os
import time

import pytest

from tests.actions.conftest import RunnerBench
from tests.runner.test_check_policy import FASTER
from tests.soak import is_soak_run

_NETWORK_VARIABLE_PREFIXES = ("PIP_", "SSL_", "REQUESTS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Variables by which this machine reaches its packages; a self-hosted runner would have them too."""


@pytest.mark.skipif(not is_soak_run(), reason="installs from the package index: only with MUSTER_SOAK")
def test_the_first_run_installs_and_the_next_finds_it(runner_bench: RunnerBench) -> None:
    runner_bench.cache.fallback = None
    runner_bench.machine.environment |= {
        k: v for k, v in os.environ.items() if k.upper().startswith(_NETWORK_VARIABLE_PREFIXES)
    }
    payload = runner_bench.runner.propose_policy(FASTER)
    began = time.monotonic()
    done = runner_bench.run_action("check-policy", "pull_request", payload)
    first_seconds = time.monotonic() - began
    assert done.ok, done.log
    assert done.outputs == {"valid": "true", "faults": "0"}
    assert done.steps["Keep the environment"] == "success"
    for path in list(runner_bench.machine.temp.iterdir()):
        path.rename(runner_bench.machine.folder / "gone")
    began = time.monotonic()
    again = runner_bench.run_action("check-policy", "pull_request", payload)
    assert again.outputs == done.outputs
    assert again.steps["Keep the environment"] == "skipped"
    assert time.monotonic() - began < first_seconds
