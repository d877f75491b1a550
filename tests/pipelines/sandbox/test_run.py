"""Starting, stopping, the clock, and the way in for other processes."""

import re
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.server import Clock
from pipelines.sandbox.world import World
from tests.pipelines.conftest import NOW
from tests.pipelines.sandbox.conftest import http

ROOT = Path(__file__).resolve().parents[3]
SERVE = "from pipelines.sandbox.run import serve; serve(port=0, recordings=3)"


def test_leaving_the_block_frees_the_ports_and_the_thread(empty: World) -> None:
    """Even with a client still connected; and it can be entered again."""
    sandbox = Sandbox(empty, now=NOW)
    for _ in range(2):
        with sandbox, http(sandbox) as client:
            assert client.get("/2010-04-01/Accounts.json").status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(sandbox.base_url, trust_env=False)
        with pytest.raises(httpx.ConnectError):
            httpx.get(sandbox.storage_url, trust_env=False)
        assert "sandbox" not in {thread.name for thread in threading.enumerate()}


def test_two_sandboxes_do_not_share_anything(empty: World) -> None:
    """Ports, journals and signatures are their own."""
    with Sandbox(empty, now=NOW) as one, Sandbox(empty, now=NOW) as two:
        with http(one) as client:
            client.get("/2010-04-01/Accounts.json")
        assert len({one.base_url, one.storage_url, two.base_url, two.storage_url}) == 4
        assert (len(one.journal.entries), len(two.journal.entries)) == (1, 0)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_only_loopback_addresses_are_listened_on(empty: World, host: str) -> None:
    """Anything else is refused before a socket is opened."""
    with pytest.raises(ValueError, match="loopback"):
        Sandbox(empty, host=host)


def test_the_clock_stands_or_runs_and_can_be_set() -> None:
    """A standing clock moves when told; a running one runs on from where it was set."""
    standing, running = Clock(NOW), Clock()
    standing.advance(timedelta(days=2))
    assert standing() == standing() == NOW + timedelta(days=2)
    standing.set(NOW)
    assert standing() == NOW

    running.set(NOW)
    assert NOW <= running() < NOW + timedelta(minutes=1)
    assert Clock()().tzinfo is UTC


def test_the_date_header_is_the_sources_clock(desk: Sandbox) -> None:
    """So that a client that measures skew sees the sandbox's time."""
    with http(desk) as client:
        assert client.get("/2010-04-01/Accounts.json").headers["Date"] == "Fri, 20 Nov 2026 12:00:00 GMT"


def test_setting_now_moves_what_is_shown(sandbox: Sandbox) -> None:
    """A month on, no result is left."""
    assert next(sandbox.world.truth(sandbox.now), None) is not None
    sandbox.now = NOW + timedelta(days=31)
    assert next(sandbox.world.truth(sandbox.now), None) is None


def test_another_process_can_read_the_journal_and_set_clock_and_cap(sandbox: Sandbox) -> None:
    """Without credentials; these requests are not in the journal themselves."""
    control = httpx.Client(base_url=f"{sandbox.base_url}/_sandbox", trust_env=False)
    with http(sandbox) as client, control:
        client.get("/2010-04-01/Accounts.json")
        journal = control.get("/journal").json()
        moved = control.post("/clock", json={"advance_seconds": 86400}).json()
        settings = control.post("/settings", json={"cap": 0, "latency": 0.001}).json()
        busy = client.get("/2010-04-01/Accounts.json")
        control.post("/settings", json={"cap": None})
        free = client.get("/2010-04-01/Accounts.json")
        reset = control.post("/clock", json={"offset_seconds": 0}).json()
        bad = [
            control.get("/nothing"),
            control.post("/clock", content=b"{"),
            control.post("/clock", json=[1]),
            control.post("/settings", json={"latency": "long"}),
        ]

    assert journal == {"requests": 1, "counts": {"ListAccount 200": 1}}
    assert datetime.fromisoformat(moved["now"]) == NOW + timedelta(days=1)
    assert settings == {"cap": 0, "latency": 0.001}
    assert (busy.status_code, free.status_code) == (429, 200)
    assert datetime.fromisoformat(reset["now"]) == NOW
    assert [reply.status_code for reply in bad] == [404, 400, 400, 400]
    assert sandbox.settings.cap is None


def test_serve_prints_the_settings_and_ends_quietly_on_interrupt() -> None:
    """Three export lines on stdout that work; Ctrl-C ends it with 0 and no traceback."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVE],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        settings = dict(re.findall(r"^export (\w+)=(\S+)$", "".join(lines), flags=re.MULTILINE))
        auth = (settings["TWILIO_ACCOUNT_SID"], settings["TWILIO_AUTH_TOKEN"])
        reply = httpx.get(
            f"{settings['TWILIO_BASE_URL']}/2010-04-01/Accounts/{auth[0]}/Recordings.json?IncludeSoftDeleted=true",
            auth=auth,
            trust_env=False,
        )
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()

    assert {"TWILIO_DELETE_API_KEY", "TWILIO_DELETE_API_SECRET"} <= settings.keys()
    assert len(reply.json()["recordings"]) == 3 + 1  # with vendors
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert err.endswith("Sandbox stopped.\n")
