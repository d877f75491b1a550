"""Settings of the whole suite."""

import gc
import os

from hypothesis import HealthCheck, settings

# the suite judges a change, so it tries the same examples before and after it; trials search
SEARCHING = any(name in os.environ for name in ("EXAMPLES", "HOSTILE_URLS"))

# how fast a machine is at the moment says nothing about a rule: timing belongs into a benchmark
settings.register_profile(
    "suite", deadline=None, derandomize=not SEARCHING, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of every search for garbage: an export makes one, of 250 ms."""
    gc.freeze()
