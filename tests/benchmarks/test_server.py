"""The benchmark's server: what it serves is the made-up account, and its cap and figures are kept."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from benchmarks import data
from benchmarks.caps import Caps
from benchmarks.data import Settings
from benchmarks.running import Server, running_server

NOW = int(datetime(2026, 11, 20, 12, 30, tzinfo=UTC).timestamp())
ACCOUNT = Settings(100, results=(1, 0, 2), payloads=(1, 2), size=500, big=3_000_000, now=NOW)
RECORDINGS = f"/2010-04-01/Accounts/{data.ACCOUNT}/Recordings.json"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server without latency or cap."""
    with running_server(ACCOUNT) as running:
        yield running


def listed(server: Server, **filters: str) -> list[dict[str, Any]]:
    """The recordings of all pages."""
    uri: str | None = f"{RECORDINGS}?{urlencode({'PageSize': '7', **filters})}"
    found: list[dict[str, Any]] = []
    while uri:
        with urlopen(server.url + uri) as reply:
            page = json.load(reply)
        assert len(page["recordings"]) <= 7
        found += page["recordings"]
        uri = page["next_page_uri"]
    return found


def test_each_day_shows_the_recordings_created_on_it(server: Server) -> None:
    """From midnight to midnight, across pages; the days together are the account, newest first."""
    day = datetime(2026, 11, 20, tzinfo=UTC)
    by_day: list[str] = []
    for _ in range(30):
        bounds = {"DateCreated>": f"{day:%Y-%m-%d}", "DateCreated<": f"{day + timedelta(days=1):%Y-%m-%d}"}
        rows = listed(server, **bounds)
        for row in rows:
            assert datetime.strptime(row["date_created"], "%a, %d %b %Y %H:%M:%S %z").date() == day.date()
        assert [row["sid"] for row in listed(server, DateCreated=f"{day:%Y-%m-%d}")] == [row["sid"] for row in rows]
        by_day += [row["sid"] for row in rows]
        day -= timedelta(days=1)
    everything = [row["sid"] for row in listed(server)]
    assert everything == [data.recording_sid(number) for number in range(100)]
    assert by_day == everything


def test_hidden_recordings_are_not_listed() -> None:
    """The newest are left out, and the others are the same as without hiding."""
    with running_server(Settings(20, hidden=4, now=NOW)) as server:
        assert [row["sid"] for row in listed(server)] == [data.recording_sid(number) for number in range(4, 20)]


def test_a_content_is_behind_a_redirect_to_the_other_origin_and_as_the_settings_say(server: Server) -> None:
    """The small one in one piece, the big one in many; both are JSON of the promised length."""
    for number, size in ((1, None), (2, 500), (50, 3_000_000)):
        uri = f"{RECORDINGS.removesuffix('.json')}/{data.recording_sid(number)}/AddOnResults"
        uri += f"/{data.result_sid(number, 0)}/Payloads/{data.payload_sid(number, 0, 0)}/Data.json"
        with urlopen(server.url + uri) as reply:  # follows the redirect
            content = reply.read()
            assert reply.url.startswith(server.storage_url + "/")
        assert content == b"".join(ACCOUNT.content(number, 0, 0))
        assert json.loads(content)["id"] == data.payload_sid(number, 0, 0)
        assert size is None or len(content) == size


def test_contents_differ_from_payload_to_payload() -> None:
    """So that a mixed-up content is noticed."""
    contents = {b"".join(ACCOUNT.content(*numbers)) for numbers in ACCOUNT.all_payloads()}
    assert len(contents) == len(list(ACCOUNT.all_payloads())) > 100


def test_one_request_more_than_the_cap_is_refused_at_once_and_counted() -> None:
    """Two are let in; the third gets 429 with Twilio's code while they are still in flight."""
    request = f"GET {RECORDINGS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with running_server(Settings(1, now=NOW), caps=Caps(((2, 0.0),)), latency=1.0) as server:
        port = int(server.url.rpartition(":")[2])
        sockets = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(3)]
        for number, each in enumerate(sockets, 1):
            each.sendall(request)
            while server.stats()["requests"] < number:  # in order
                pass
        third = sockets[2].recv(65536)
        assert third.startswith(b"HTTP/1.1 429 ")
        assert b"Twilio-Concurrent-Requests: 3\r\n" in third
        assert b'"code":20429' in third
        for each in sockets[:2]:
            assert each.recv(65536).startswith(b"HTTP/1.1 200 ")
        stats = server.stats()
        for each in sockets:
            each.close()
    assert (stats["requests"], stats["served"], stats["refused"], stats["peak_in_flight"]) == (3, 2, 1, 2)
    assert stats["in_flight_seconds"] == pytest.approx(2.0, rel=0.5)
    assert stats["cap_seconds"] == pytest.approx(2 * (stats["last_at"] - stats["first_at"]))


def test_what_is_not_there_is_404(server: Server) -> None:
    """Another path is not answered with anything that could pass for a resource."""
    with pytest.raises(HTTPError, match="404") as refused:
        urlopen(f"{server.url}/2010-04-01/Accounts/{data.ACCOUNT}/Calls.json")
    refused.value.close()


@pytest.mark.parametrize("text", ["", "100:5", "100:0,40:5,20:5", "100:0,40:9,20:5", "many:0"])
def test_a_schedule_that_makes_no_sense_is_refused(text: str) -> None:
    """It begins at 0 and goes forward."""
    with pytest.raises(ValueError, match=r".+"):
        Caps.parse(text)


def test_the_integral_of_a_moving_cap_is_the_area_under_its_steps() -> None:
    """100 for 5 s, 40 for 5 s, then 100 again."""
    caps = Caps.parse("100:0,40:5,100:10")
    assert [caps.integral(seconds) for seconds in (0, 2, 5, 6, 10, 12)] == [0, 200, 500, 540, 700, 900]
    assert Caps.parse(str(caps)) == caps
    assert caps.limited
    assert not Caps.parse("0").limited
