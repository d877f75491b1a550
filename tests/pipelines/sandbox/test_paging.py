"""Lists are paged as Twilio pages them, and a page token is the only way in."""

from datetime import datetime, timedelta

import httpx
import pytest

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.pipelines.conftest import NOW
from tests.pipelines.sandbox.conftest import http


def recordings_uri(sandbox: Sandbox, query: str = "") -> str:
    """The recordings list of the main account."""
    return f"/2010-04-01/Accounts/{sandbox.account_sid}/Recordings.json{query}"


def refused(reply: httpx.Response) -> tuple[int, int]:
    """HTTP status and Twilio's code."""
    return reply.status_code, reply.json()["code"]


def test_2300_results_come_in_three_pages() -> None:
    """With PageSize 1000: 1000, 1000, 300, every result once, with honest numbers."""
    world = made_up_world(now=NOW, recordings=1, many_results=2300)
    sid = max(world.recordings, key=lambda sid: sum(r.reference_sid == sid for r in world.results.values()))
    with Sandbox(world, now=NOW) as sandbox, http(sandbox) as client:
        uri = f"/2010-04-01/Accounts/{sandbox.account_sid}/Recordings/{sid}/AddOnResults.json?PageSize=1000"
        pages = []
        while uri is not None:
            pages.append(client.get(uri).json())
            uri = pages[-1]["next_page_uri"]

    assert [(page["page"], page["start"], page["end"]) for page in pages] == [
        (0, 0, 999),
        (1, 1000, 1999),
        (2, 2000, 2299),
    ]
    listed = [row["sid"] for page in pages for row in page["add_on_results"]]
    assert len(listed) == len(set(listed)) == 2300
    assert pages[0]["previous_page_uri"] is None
    assert set(listed) == {row.sid for row in world.results.values() if row.reference_sid == sid}


def test_previous_page_uri_leads_back(sandbox: Sandbox) -> None:
    """Back from page three come the rows of pages two and one, in the same order."""
    with http(sandbox) as client:
        first = client.get(recordings_uri(sandbox, "?PageSize=10")).json()
        second = client.get(first["next_page_uri"]).json()
        third = client.get(second["next_page_uri"]).json()
        back = client.get(third["previous_page_uri"]).json()
        start = client.get(back["previous_page_uri"]).json()

    assert back["recordings"] == second["recordings"] != third["recordings"]
    assert start["recordings"] == first["recordings"]
    assert start["previous_page_uri"] is None


def test_a_page_token_not_given_for_this_list_is_refused(sandbox: Sandbox) -> None:
    """Made up, altered, moved to another list, or with other filters: 400, code 21481."""
    with http(sandbox) as client:
        uri = client.get(recordings_uri(sandbox, "?PageSize=10")).json()["next_page_uri"]
        token = httpx.URL(uri).params["PageToken"]
        other = f"/2010-04-01/Accounts.json?PageToken={token}"
        flipped = token[:-1] + ("A" if token[-1] != "A" else "B")
        replies = [
            client.get(recordings_uri(sandbox, "?PageToken=PA123")),
            client.get(recordings_uri(sandbox, "?PageToken=")),
            client.get(recordings_uri(sandbox, "?PageToken=P%E2%82%AC")),
            client.get(recordings_uri(sandbox, f"?PageToken={flipped[::-1]}")),
            client.get(recordings_uri(sandbox, f"?PageToken={token[0]}Q{token[2:]}")),
            client.get(recordings_uri(sandbox, f"?PageToken={token}&IncludeSoftDeleted=true")),
            client.get(recordings_uri(sandbox, "?Page=3")),
            client.get(other),
        ]
        assert client.get(uri).status_code == 200

    assert [refused(reply) for reply in replies] == [(400, 21481)] * len(replies)


def test_page_tokens_survive_rows_that_come_and_go(sandbox: Sandbox) -> None:
    """With its row deleted and a newer one added, a token's page neither repeats nor skips."""
    with http(sandbox) as client:
        first = client.get(recordings_uri(sandbox, "?PageSize=10")).json()
        expected = client.get(first["next_page_uri"]).json()["recordings"]
        assert client.delete(first["recordings"][-1]["uri"]).status_code == 204
        sandbox.world.add_recording(sandbox.account_sid, NOW - timedelta(seconds=1))

        assert client.get(first["next_page_uri"]).json()["recordings"] == expected


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?PageSize=0", 20001),
        ("?PageSize=many", 20001),
        ("?PageSize=1001", 20007),
        ("?Page=-1", 20001),
        ("?DateCreated=yesterday", 20001),
    ],
)
def test_impossible_queries_are_400(sandbox: Sandbox, query: str, code: int) -> None:
    """Page sizes outside 1 to 1000 and words for dates are refused."""
    with http(sandbox) as client:
        assert refused(client.get(recordings_uri(sandbox, query))) == (400, code)


def test_page_size_is_50_unless_said(sandbox: Sandbox) -> None:
    """The default page looks complete and is not."""
    with http(sandbox) as client:
        body = client.get(recordings_uri(sandbox)).json()

    assert (len(body["recordings"]), body["page_size"]) == (50, 50)
    assert body["next_page_uri"].startswith("/2010-04-01/")


def test_filters_stay_in_the_next_page_uri(sandbox: Sandbox) -> None:
    """Following it keeps the date window: no row of the second page is outside."""
    window = "DateCreated%3E=2026-11-01&DateCreated%3C=2026-11-18"
    with http(sandbox) as client:
        first = client.get(recordings_uri(sandbox, f"?{window}&PageSize=5")).json()
        second = client.get(first["next_page_uri"]).json()

    created = [sandbox.world.recordings[row["sid"]].date_created for row in second["recordings"]]
    assert len(created) == 5
    assert all(NOW.replace(day=1, hour=0) <= each < NOW.replace(day=18, hour=0) for each in created)


@pytest.mark.parametrize(
    ("moment", "after", "before"),
    [
        (NOW.replace(day=10, hour=0), True, False),
        (NOW.replace(day=9, hour=23, minute=59, second=59), False, True),
    ],
)
def test_midnight_belongs_to_the_day_it_starts(desk: Sandbox, moment: datetime, after: bool, before: bool) -> None:
    """00:00:00 of the 10th is found by `>` the 10th and not by `<` the 10th; the second before it is not."""
    desk.world.add_recording(desk.account_sid, moment)
    with http(desk) as client:
        found = [
            bool(client.get(recordings_uri(desk, f"?DateCreated{sign}=2026-11-10")).json()["recordings"])
            for sign in (">", "<")
        ]

    assert found == [after, before]
