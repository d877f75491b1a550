"""The line of progress of an export."""

import time

from assets.cli.asked import numbers
from pipelines.report import Progress
from pipelines.twilio.client import Traffic


def test_the_line_says_how_long_a_host_asks_to_wait() -> None:
    """As long as it does; what is on a terminal for an hour must not look frozen."""
    progress = Progress(clients=[Traffic(requests=3), Traffic(told_to_wait_until=time.monotonic() + 3600)])
    assert numbers(progress)[2].startswith(("told to wait 3600 s, ", "told to wait 3599 s, "))
    progress.clients = [Traffic(requests=3, told_to_wait_until=time.monotonic() - 1)]
    assert numbers(progress)[2] == "0 results, 0 contents, 0.0 MB, 3 requests"
