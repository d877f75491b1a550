"""What the client asks, believes, repeats and refuses; hosts are plain callables, time is virtual."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime

import httpx
import pytest

from pipelines.errors import (
    AccountRefused,
    FixConfiguration,
    SourceDoubtful,
    SourceForbidden,
    SourceRefused,
    SourceUnavailable,
    SourceUntrusted,
)
from pipelines.holding import Content
from pipelines.records.sids import RecordingSid
from pipelines.twilio.client import Credential, DeleteOutcome, Tuning, TwilioClient
from tests.pipelines.twilio.made_up import (
    AC,
    DATA,
    RE,
    RESULTS,
    SECRET,
    SIGNATURE,
    SIGNED,
    XH,
    XR,
    client,
    collect,
    everything,
    in_turn,
    no_storage,
    page,
    problem,
    redirect,
)
from tests.pipelines.twilio.virtual import run_virtually


def results(twilio: TwilioClient) -> list[object]:
    """List the add-on results of one recording in virtual time."""

    async def listing() -> list[object]:
        async with twilio:
            return await collect(twilio.add_on_results(RE))

    return run_virtually(listing())


def content(twilio: TwilioClient) -> Content:
    """Fetch one content in virtual time."""

    async def fetching() -> Content:
        async with twilio:
            return await twilio.content(RE, XR, XH)

    return run_virtually(fetching())


class Ends(httpx.AsyncByteStream):
    """A body without length or chunks, or one that breaks off, or one that comes slowly."""

    def __init__(self, *chunks: bytes, breaks: bool = False, pause: float = 0.0) -> None:
        self._chunks, self._breaks, self._pause = chunks, breaks, pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await asyncio.sleep(self._pause)
            yield chunk
        if self._breaks:
            raise httpx.ReadError("cut")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("Wed, 01 Sep 2010 15:15:41 GMT", datetime(2010, 9, 1, 15, 15, 41, tzinfo=UTC)),
        ("Wed, 01 Sep 2010 15:15:41 -0000", datetime(2010, 9, 1, 15, 15, 41, tzinfo=UTC)),
        ("Wed, 01 Sep 2010 15:15:41 +0200", datetime(2010, 9, 1, 13, 15, 41, tzinfo=UTC)),
        ("Wed, 01 Sep 2010 15:15:41 +9999999999999999", None),
        ("Wed, 01 Sep 2010 15:15:41 +9900", None),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),
        ("Wed, 31 Feb 2010 15:15:41 GMT", None),
        ("", None),
    ],
)
def test_the_sources_clock_is_its_date_header_if_that_is_one(said: str, read: datetime | None) -> None:
    """Whatever it says is a time in UTC or nothing, never an error in the middle of a deletion."""

    async def asking() -> datetime | None:
        answer = page("add_on_results", [])
        answer.headers["Date"] = said
        async with client(lambda _: answer) as twilio:
            await collect(twilio.add_on_results(RE))
            return twilio.source_time()

    assert run_virtually(asking()) == read


# Lists


def test_a_list_is_read_page_by_page_along_next_page_uri_alone() -> None:
    """The second request is exactly the URI given: nothing of the first one's query is added to it."""
    asked: list[httpx.Request] = []
    following = f"{RESULTS}?PageSize=1000&Page=1&PageToken=PAXR%2Fb"

    def api(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return page("add_on_results", [1, 2], following) if len(asked) == 1 else page("add_on_results", [3])

    assert results(client(api)) == [1, 2, 3]
    assert [request.url.raw_path.decode() for request in asked] == [f"{RESULTS}?PageSize=1000", following]
    assert all(request.method == "GET" for request in asked)


def test_recordings_are_asked_with_the_window_of_days() -> None:
    """Whole UTC days, deleted recordings included."""
    asked: list[str] = []

    def api(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return page("recordings", [])

    async def listing() -> None:
        async with client(api) as twilio:
            assert await collect(twilio.recordings(date(2026, 1, 1), date(2026, 1, 31))) == []

    run_virtually(listing())
    assert asked == [
        f"/2010-04-01/Accounts/{AC}/Recordings.json"
        "?DateCreated%3E=2026-01-01&DateCreated%3C=2026-02-01&IncludeSoftDeleted=true&PageSize=1000"
    ]


@pytest.mark.parametrize("uri", [f"{RESULTS}?PageSize=1000", f"{RESULTS}?Page=1"])
def test_a_next_page_that_came_before_ends_the_loop_with_an_error(uri: str) -> None:
    """Both the first page again and any later one again."""
    with pytest.raises(SourceUntrusted, match="names an earlier one"):
        results(client(lambda _: page("add_on_results", [1], uri)))


def test_two_lists_with_large_pages_are_held_at_once_and_never_block_each_other() -> None:
    """Even if all lists are large, on both levels, and only one request may be under way."""
    label = "x" * 300_000
    held = most = 0

    def api(request: httpx.Request) -> httpx.Response:
        key = "payloads" if "/Payloads.json" in request.url.path else "add_on_results"
        following = None if "PageToken" in str(request.url) else f"{request.url.path}?Page=1&PageToken=a"
        return page(key, [label], following)

    async def work(twilio: TwilioClient, number: int) -> int:
        nonlocal held, most
        found = 0
        async for _ in twilio.add_on_results(RecordingSid(f"RE{number:032x}")):
            held += 1
            most = max(most, held)
            found += sum(await asyncio.gather(*(count(twilio) for _ in range(3))))
            held -= 1
        return found

    async def count(twilio: TwilioClient) -> int:
        return sum([len(items) async for items in twilio.payloads(RE, XR)])

    async def together() -> list[int]:
        async with client(api, max_concurrency=1) as twilio:
            return await asyncio.gather(*(work(twilio, number) for number in range(10)))

    assert run_virtually(together()) == [12] * 10
    assert most == 2


@pytest.mark.parametrize(("size", "requests"), [(200_000, 2), (300_000, 3)])
def test_only_the_first_large_page_of_a_list_is_asked_for_twice(size: int, requests: int) -> None:
    """Once to learn that it is large; an ordinary one is not."""
    rows = ["x" * 1000] * (size // 1000)
    twilio = client(
        in_turn(
            *(page("add_on_results", rows, f"{RESULTS}?Page=1&PageToken=a") for _ in range(requests - 1)),
            page("add_on_results", rows),
        )
    )
    assert results(twilio) == rows * 2
    assert twilio.traffic.requests == requests


@pytest.mark.parametrize(("size", "requests"), [(1000, 1), (4000, 2)])
def test_recordings_are_listed_in_large_pages_at_once(size: int, requests: int) -> None:
    """A thousand of them take 880 KB; they are listed ahead and must not wait for what comes after them."""
    twilio = client(lambda _: page("recordings", ["x" * size] * 1000))

    async def listing() -> int:
        return len(await collect(twilio.recordings(date(2026, 1, 1), date(2026, 1, 1))))

    assert run_virtually(listing()) == 1000
    assert twilio.traffic.requests == requests


def test_a_list_without_end_is_ended_by_the_page_ceiling() -> None:
    """A server that always has one more page does not hold us for ever."""
    numbers = iter(range(1000))

    def answer(_: httpx.Request) -> httpx.Response:
        number = next(numbers)
        return page("add_on_results", [number], f"{RESULTS}?Page={number}")

    with pytest.raises(SourceUntrusted, match="no end after 50 pages"):
        results(client(answer, tuning=Tuning(most_pages=50)))


@pytest.mark.parametrize("items", [[], ["x"]])
def test_a_list_that_goes_round_in_a_circle_is_left_soon(items: list[object]) -> None:
    """By ever new addresses; a few pages that are equal may be chance."""
    numbers = iter(range(1000))
    api = client(lambda _: page("add_on_results", items, f"{RESULTS}?Page={next(numbers)}"))
    with pytest.raises(SourceUntrusted, match="20 pages on end that it had shown before"):
        results(api)
    assert api.traffic.requests == 21
    twice = client(
        in_turn(
            *(page("add_on_results", items, f"{RESULTS}?Page={n}") for n in range(5)), page("add_on_results", items)
        )
    )
    assert results(twice) == 6 * items


def test_a_long_list_that_begins_again_is_no_circle() -> None:
    """All its pages come a second time, in a row."""
    pages = [page("add_on_results", [n], f"{RESULTS}?Page={n}") for n in range(30)]
    api = client(in_turn(*pages, problem(400, 21481), *pages, page("add_on_results", ["last"])))
    assert results(api) == [*range(30), *range(30), "last"]


def test_an_address_too_long_to_remember_is_not_followed() -> None:
    """Thousands of pages may each name one."""
    api = client(lambda _: page("add_on_results", [], f"{RESULTS}?PageToken={'a' * 5000}"))
    with pytest.raises(SourceUntrusted, match="not a page of the same list"):
        results(api)


def test_a_forgotten_page_token_restarts_the_list_once() -> None:
    """Rows come again then, which is allowed; a second time is an error."""
    two = f"{RESULTS}?Page=1&PageToken=a"
    answers = (page("add_on_results", [1], two), problem(400, 21481))
    assert results(client(in_turn(*answers, page("add_on_results", [1, 2])))) == [1, 1, 2]
    with pytest.raises(SourceRefused) as caught:
        results(client(in_turn(*answers, *answers)))
    assert caught.value.code == 21481


def test_another_400_is_refused_at_once_with_its_facts() -> None:
    """Asking again does not change a bad request."""
    twilio = client(in_turn(problem(400, 20001), page("add_on_results", [])))
    with pytest.raises(SourceRefused) as caught:
        results(twilio)
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (400, 20001, "RQ77")
    assert RE in str(caught.value)
    assert twilio.traffic.requests == 1


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 304])
def test_a_list_is_a_200_and_no_redirect_is_followed(status: int) -> None:
    """Credentials would go along."""
    twilio = client(lambda _: httpx.Response(status, headers={"Location": "https://evil.example/"}, json={"a": []}))
    with pytest.raises(SourceUntrusted):
        results(twilio)
    assert twilio.traffic.requests == 1


# Credentials and headers


def test_credentials_go_to_the_api_host_and_not_to_storage() -> None:
    """Storage gets no Authorization and no cookie, and both hosts are asked for plain bytes."""
    seen: dict[str, httpx.Request] = {}

    def api(request: httpx.Request) -> httpx.Response:
        seen["api"] = request
        answer = redirect()
        answer.headers["Set-Cookie"] = "session=1"
        return answer

    def storage(request: httpx.Request) -> httpx.Response:
        seen["storage"] = request
        return httpx.Response(200, content=b"hello")

    assert content(client(api, storage)).data == b"hello"
    basic = httpx.BasicAuth(AC, SECRET)._auth_header
    assert seen["api"].headers["authorization"] == basic
    assert str(seen["api"].url) == f"https://api.twilio.com{DATA}"
    assert str(seen["storage"].url) == SIGNED
    assert "authorization" not in seen["storage"].headers
    assert "cookie" not in seen["storage"].headers
    assert basic.split()[1] not in str(seen["storage"].headers)
    for request in seen.values():
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["user-agent"].startswith("addon-export/")


def test_a_credential_does_not_show_its_password() -> None:
    """Neither in repr nor in str."""
    assert SECRET not in f"{Credential(AC, SECRET)!r} {Credential(AC, SECRET)}"


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_a_configuration_to_fix(status: int) -> None:
    """After one more try; one sentence with account, kind of credential, host, region, and the facts."""
    twilio = client(lambda _: problem(status, 20003))
    with pytest.raises(FixConfiguration) as caught:
        results(twilio)
    assert twilio.traffic.requests == 2
    assert str(caught.value) == (
        f"Twilio refused the credentials for account {AC}: the Auth Token, at api.twilio.com, region us1 "
        f"(HTTP {status}, Twilio code 20003, request RQ77)"
    )


def test_a_refusal_that_is_not_twilios_shows_no_code() -> None:
    """A page of a firewall has none, nor a request id."""
    twilio = client(lambda _: httpx.Response(403, text="<html>blocked</html>"))
    with pytest.raises(FixConfiguration) as caught:
        results(twilio)
    assert str(caught.value).endswith("region us1 (HTTP 403)")


def test_a_refusal_names_the_setting_of_the_credential_and_the_region_and_no_value() -> None:
    """A key of another region is refused like a wrong one: the sentence has to say what was asked where."""
    twilio = TwilioClient(
        AC,
        Credential("SK" + "7" * 32, SECRET, "TWILIO_API_KEY"),
        base_url="https://api.dublin.ie1.twilio.com",
        api=httpx.MockTransport(lambda _: problem(401, 20003)),
        storage=httpx.MockTransport(no_storage),
    )
    with pytest.raises(
        FixConfiguration, match=r"the API key in TWILIO_API_KEY, at api\.dublin\.ie1.*region ie1"
    ) as caught:
        results(twilio)
    assert SECRET not in str(caught.value)
    assert "SK7" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_stray_401_or_403_is_survived(status: int) -> None:
    """One of them means nothing."""
    assert results(client(in_turn(problem(status, 20003), page("add_on_results", [1])))) == [1]


def test_a_403_after_something_was_given_is_about_that_one_thing() -> None:
    """Asked twice, then refused; what comes after it is asked for all the same."""

    def api(request: httpx.Request) -> httpx.Response:
        return problem(403, 20003) if XR in request.url.path else page("add_on_results", [1])

    async def asking() -> int:
        async with client(api) as twilio:
            await collect(twilio.add_on_results(RE))
            with pytest.raises(SourceForbidden, match="access refused") as caught:
                await collect(twilio.payloads(RE, XR))
            assert (caught.value.status, caught.value.code, caught.value.request_id) == (403, 20003, "RQ77")
            with pytest.raises(SourceForbidden):
                await twilio.add_on_result(RE, XR)
            assert await collect(twilio.add_on_results(RE)) == [1]
            return twilio.traffic.requests

    assert run_virtually(asking()) == 6


def test_a_401_stops_everything_whenever_it_comes() -> None:
    """A key that was revoked meanwhile."""

    async def asking() -> int:
        async with client(in_turn(page("add_on_results", [1]), problem(401, 20003))) as twilio:
            await collect(twilio.add_on_results(RE))
            for _ in range(3):
                with pytest.raises(FixConfiguration):
                    await collect(twilio.add_on_results(RE))
            return twilio.traffic.requests

    assert run_virtually(asking()) == 3


def test_once_credentials_are_refused_waiting_and_sleeping_requests_fail_without_being_sent() -> None:
    """A hundred workers do not go on knocking with a rotated key: the first second refusal is the last."""

    async def api(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.1)
        return problem(503, Retry_After="50") if "/RE" + "9" * 32 in request.url.path else problem(403, 20003)

    async def many() -> None:
        twilio = client(api, max_concurrency=4)
        sleeper = asyncio.ensure_future(collect(twilio.add_on_results(RecordingSid("RE" + "9" * 32))))
        await asyncio.sleep(0.2)
        others = [asyncio.ensure_future(collect(twilio.add_on_results(RE))) for _ in range(100)]
        outcomes = await asyncio.gather(sleeper, *others, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [AccountRefused] * 101
        assert (sent := twilio.traffic.requests) <= 101 + 4, "each once, those at once perhaps again"
        assert asyncio.get_running_loop().time() < 10, "the sleeper was woken"
        with pytest.raises(FixConfiguration):
            await twilio.delete_add_on_result(RE, XR)
        assert twilio.traffic.requests == sent

    run_virtually(many())


def test_plain_http_to_another_machine_is_refused_before_anything_is_sent() -> None:
    """The credentials would be readable on the way."""
    with pytest.raises(FixConfiguration):
        client(lambda _: page("add_on_results", []), base_url="http://api.twilio.com")


# Asking again


@pytest.mark.parametrize(
    "trouble",
    [
        problem(429, 20429),
        problem(500, 20500),
        problem(502),
        problem(503),
        problem(504),
        problem(404, 20404),
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("garbage"),
        httpx.DecodingError("cut"),
        httpx.Response(200, headers={"Content-Length": "99"}, stream=httpx.ByteStream(b'{"add_on_results":[7]}')),
        httpx.Response(200, headers={"Content-Length": "9"}, stream=Ends(b"{", breaks=True)),
        httpx.Response(200, headers={"Content-Encoding": "gzip", "Content-Length": "1"}, stream=Ends(b"x")),
    ],
)
def test_trouble_that_passes_is_waited_for(trouble: httpx.Response | Exception) -> None:
    """One failure of each kind, then the answer."""
    twilio = client(in_turn(trouble, page("add_on_results", [1])))
    assert results(twilio) == [1]
    assert (twilio.traffic.requests, twilio.traffic.retried) == (2, 1)


def test_refusals_are_counted() -> None:
    """The traffic says how many 429s there were."""
    twilio = client(in_turn(problem(429), problem(429), problem(503), page("add_on_results", [])))
    results(twilio)
    assert (twilio.traffic.refused, twilio.traffic.retried, twilio.traffic.requests) == (2, 3, 4)


def test_when_the_budget_is_spent_the_source_is_unavailable() -> None:
    """120 s of trying, with the last facts and how long it took."""

    async def trying() -> None:
        twilio = client(lambda _: problem(503, 20503))
        with pytest.raises(SourceUnavailable, match=r"after \d+ attempts in 1[012]\d\.\d s") as caught:
            await collect(twilio.add_on_results(RE))
        assert (caught.value.status, caught.value.code, caught.value.request_id) == (503, 20503, "RQ77")
        assert 100 < asyncio.get_running_loop().time() <= 120

    run_virtually(trying())


@pytest.mark.parametrize("hangs", [True, False])
def test_an_unreachable_host_is_reported_within_15_seconds_and_a_silent_one_in_minutes(hangs: bool) -> None:
    """Who takes a connection and says nothing may only be slow: it is given more time with each attempt."""

    async def api(request: httpx.Request) -> httpx.Response:
        if hangs:
            await asyncio.sleep(9999)
        raise httpx.ConnectError("Connection refused")

    async def trying() -> None:
        with pytest.raises(SourceUnavailable) as caught:
            await collect(client(api).add_on_results(RE))
        assert asyncio.get_running_loop().time() <= (30 + 60 + 120 + 1 if hangs else 15.2)
        assert hangs or isinstance(caught.value.__cause__, httpx.ConnectError)

    run_virtually(trying())


@pytest.mark.parametrize("seconds", [29.0, 55.0, 79.0])
def test_a_slow_host_is_not_away(seconds: float) -> None:
    """Its first reply is waited for; what it has shown is what others of its replies may take."""

    async def slow(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(seconds)
        return page("add_on_results", [1]) if request.url.path == RESULTS else redirect()

    async def storage(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(1.5 * seconds)
        return httpx.Response(200, content=b"whole")

    async def trying() -> None:
        twilio = client(slow, storage)
        found = await asyncio.gather(*(collect(twilio.add_on_results(RE)) for _ in range(100)))
        assert found == [[1]] * 100
        assert (await twilio.content(RE, XR, XH)).data == b"whole"
        before = twilio.traffic.requests
        assert await collect(twilio.add_on_results(RE)) == [1]
        assert twilio.traffic.requests == before + 1

    run_virtually(trying())


def test_a_long_retry_after_is_waited_for_and_a_longer_one_is_said() -> None:
    """Not asked again before; an hour is left to the next export."""
    sent: list[float] = []

    async def api(request: httpx.Request) -> httpx.Response:
        sent.append(asyncio.get_running_loop().time())
        return problem(503, Retry_After="400") if len(sent) == 1 else page("add_on_results", [1])

    async def trying() -> None:
        assert await collect(client(api, random=lambda: 0.0).add_on_results(RE)) == [1]
        twilio = client(lambda _: problem(429, 20429, Retry_After="3600"))
        with pytest.raises(SourceUnavailable, match="asks to be asked again in 3600 s"):
            await collect(twilio.add_on_results(RE))
        assert twilio.traffic.requests == 1

    run_virtually(trying())
    assert sent == [0.0, 400.0]


def test_a_host_that_has_answered_gets_the_whole_budget() -> None:
    """A passing outage of a minute is survived."""

    async def api(request: httpx.Request) -> httpx.Response:
        if 1 < asyncio.get_running_loop().time() < 61:
            raise httpx.ConnectError("Connection refused")
        return page("add_on_results", [1])

    async def trying() -> None:
        twilio = client(api)
        assert await collect(twilio.add_on_results(RE)) == [1]
        await asyncio.sleep(2)
        assert await collect(twilio.add_on_results(RE)) == [1]

    run_virtually(trying())


def test_no_request_is_sent_before_retry_after() -> None:
    """Given as seconds; the wait holds no place in the limit."""
    sent: list[float] = []

    async def api(request: httpx.Request) -> httpx.Response:
        sent.append(asyncio.get_running_loop().time())
        return problem(429, 20429, Retry_After="7") if len(sent) == 1 else page("add_on_results", [1])

    async def trying() -> None:
        twilio = client(api, random=lambda: 0.0)
        task = asyncio.ensure_future(collect(twilio.add_on_results(RE)))
        await asyncio.sleep(3)
        assert twilio._api._gate.in_flight == 0
        assert twilio.traffic.told_to_wait_until == 7.0
        assert await task == [1]

    run_virtually(trying())
    assert sent == [0.0, 7.0]


@pytest.mark.parametrize("drips", [True, False])
def test_a_request_has_a_deadline_in_all_not_per_read(drips: bool) -> None:
    """A head that does not come, or a byte a second: 30 s, then another attempt."""
    attempts = 0

    async def api(request: httpx.Request) -> httpx.Response:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            if not drips:
                await asyncio.sleep(9999)
            return httpx.Response(200, headers={"Content-Length": "999"}, stream=Ends(*[b"x"] * 999, pause=1))
        return page("add_on_results", [attempts])

    async def trying() -> None:
        twilio = client(api)
        assert await collect(twilio.add_on_results(RE)) == [1]
        assert await collect(twilio.add_on_results(RE)) == [3]
        assert 30 <= asyncio.get_running_loop().time() < 31

    run_virtually(trying())


def test_waiting_for_a_place_is_not_counted_against_the_budget() -> None:
    """With one place and slow answers the last of many requests still has all its time."""

    async def api(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(20)
        return page("add_on_results", [1])

    async def many() -> None:
        twilio = client(api, max_concurrency=1, tuning=Tuning(unanswered_budget=21, budget=30))
        found = await asyncio.gather(*(collect(twilio.add_on_results(RE)) for _ in range(20)))
        assert found == [[1]] * 20

    run_virtually(many())


def test_requests_in_flight_stay_within_the_ceiling() -> None:
    """However many are asked for."""
    now, most = 0, 0

    async def api(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.1)
        now -= 1
        return page("add_on_results", [])

    async def many() -> None:
        twilio = client(api, max_concurrency=20)
        await asyncio.gather(*(collect(twilio.add_on_results(RE)) for _ in range(400)))

    run_virtually(many())
    assert most == 20


def test_a_body_without_length_or_chunks_is_believed_after_a_second_identical_fetch() -> None:
    """Until then a cut connection could have shortened it."""

    def unframed(body: bytes) -> httpx.Response:
        return httpx.Response(200, stream=Ends(body))

    whole, cut = b'{"add_on_results":[1,2],"next_page_uri":null}', b'{"add_on_results":[1],"next_page_uri":null}'
    twilio = client(in_turn(unframed(cut), unframed(whole), unframed(whole)))
    assert results(twilio) == [1, 2]
    assert twilio.traffic.requests == 3


def test_an_encoded_reply_is_not_trusted_even_if_it_could_be_decoded() -> None:
    """Half a gzip stream decodes without an error, so none is accepted."""
    twilio = client(
        lambda _: httpx.Response(200, headers={"Content-Encoding": "gzip", "Content-Length": "1"}, stream=Ends(b"x"))
    )
    with pytest.raises(SourceUntrusted, match="encoded"):
        results(twilio)
    assert twilio.traffic.requests == 2


@pytest.mark.parametrize("length", [{"Content-Length": "1001"}, {"Transfer-Encoding": "chunked"}])
def test_a_page_over_the_cap_is_not_read(length: dict[str, str]) -> None:
    """Announced or found out while reading."""
    twilio = client(
        lambda _: httpx.Response(200, headers=length, stream=Ends(*[b"x" * 100] * 10_000_000)),
        tuning=Tuning(page_cap=1000),
    )
    with pytest.raises(SourceUntrusted, match="more than 1000 bytes"):
        results(twilio)


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "5"), ("Content-Length", "5")],
        [("Content-Length", "21"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Content-Length", "-5")],
        [("Content-Length", "\u0665")],
        [("Content-Length", "")],
        [("Content-Length", "9" * 5000)],
    ],
)
def test_contradictory_framing_is_not_trusted(headers: list[tuple[str, str]]) -> None:
    """Where one reader sees the end another sees more: refuse both."""
    raw = [(name.encode(), value.encode()) for name, value in headers]
    with pytest.raises(SourceUntrusted, match="breaks HTTP"):
        results(client(lambda _: httpx.Response(200, headers=raw, stream=Ends(b'{"add_on_results":[]}'))))


# Contents


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_content_is_fetched_from_where_data_redirects(status: int) -> None:
    """Bytes, their SHA-256 and storage's content type."""
    data = b'{"results":[\xff\x00]}'
    fetched = content(
        client(
            lambda _: redirect(status=status),
            lambda _: httpx.Response(200, content=data, headers={"Content-Type": "application/json"}),
        )
    )
    assert fetched == Content(data, hashlib.sha256(data).hexdigest(), "application/json", 0)


@pytest.mark.parametrize("status", [200, 307])
def test_without_location_the_body_of_data_names_the_place(status: int) -> None:
    """The specification knows only the body."""
    twilio = client(
        lambda _: httpx.Response(status, json={"redirect_to": SIGNED}), lambda _: httpx.Response(200, content=b"x")
    )
    assert content(twilio).data == b"x"


def test_an_empty_content_is_a_content() -> None:
    """Nothing is not the same as missing."""
    twilio = client(lambda _: redirect(), lambda _: httpx.Response(200, headers={"Content-Length": "0"}))
    assert content(twilio).sha256 == hashlib.sha256(b"").hexdigest()


def test_storage_that_sends_on_to_another_region_is_followed_without_credentials_a_few_times() -> None:
    """As S3 does with 301 and 307; not without end, and not to where contents cannot be."""
    asked: list[httpx.Request] = []

    def storage(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) < 3:
            return redirect(f"https://bucket.region-{len(asked)}.example/x?{SIGNATURE}", status=301)
        return httpx.Response(200, content=b"whole")

    assert content(client(lambda _: redirect(), storage)).data == b"whole"
    assert [r.url.host for r in asked[1:]] == ["bucket.region-1.example", "bucket.region-2.example"]
    assert not any("authorization" in r.headers for r in asked)
    twilio = client(lambda _: redirect(), lambda _: redirect("https://bucket.storage.example/elsewhere"))
    with pytest.raises(SourceUntrusted, match="no end of redirects"):
        content(twilio)
    assert twilio.traffic.requests == 5
    for target in ("http://bucket.storage.example/x", "https://10.0.0.1/x", f"https://169.254.169.254/{RESULTS}"):
        with pytest.raises(SourceUntrusted, match="redirect leads to"):
            content(client(lambda _: redirect(), in_turn(redirect(target))))


def test_a_content_on_the_host_of_the_api_is_fetched_with_credentials_only_where_the_account_is() -> None:
    """Relative or absolute; anywhere else on that host, and after another host had a say, without."""
    asked: list[httpx.Request] = []
    target = ""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return redirect(target) if request.url.path == DATA else httpx.Response(200, content=b"whole")

    below = DATA.replace("/Data.json", "/Content")
    there = f"https://api.twilio.com{below}"
    for target, keyed in (
        (below, True),
        (f"https://api.twilio.com{below}?a=b", True),
        ("Content", True),
        ("/media/1?x=%2F", False),
        ("https://api.twilio.com/media/1", False),
        (f"//api.twilio.com{below}", True),
        (f"https://api.twilio.com:444{below}", False),
    ):
        asked.clear()
        assert content(client(answer, answer)).data == b"whole", target
        assert ("authorization" in asked[1].headers) is keyed, target

    def elsewhere(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=b"x") if str(request.url) == there else redirect(there)

    target = SIGNED
    asked.clear()
    assert content(client(answer, elsewhere)).data == b"x"
    assert [("authorization" in r.headers) for r in asked] == [True, False, False]


@pytest.mark.parametrize("status", [200, 203, 206])
def test_what_data_itself_gives_is_the_content(status: int) -> None:
    """Unless it says nothing but where to look; empty, or markup where none is due, is a fault of the server."""
    whole = {"Content-Range": "bytes 0-14/15"} if status == 206 else {}
    answer = httpx.Response(status, headers=whole, content=b'{"transcript":1')
    assert content(client(lambda _: answer)).data == b'{"transcript":1'
    said = httpx.Response(200, json={"redirect_to": SIGNED})
    assert content(client(lambda _: said, lambda _: httpx.Response(200, content=b"there"))).data == b"there"
    vendors = httpx.Response(200, json={"redirect_to": "a word that was said", "confidence": 1})
    assert b"confidence" in content(client(lambda _: vendors)).data
    for nothing in (b"", b"  ", b"<html>busy</html>"):
        twilio = client(in_turn(httpx.Response(200, content=nothing), answer))
        assert content(twilio).data == b'{"transcript":1'


@pytest.mark.parametrize("target", ["http://bucket.storage.example/x", "https://169.254.169.254/latest/meta-data", ""])
def test_a_redirect_to_where_contents_cannot_be_is_not_followed(target: str) -> None:
    """Storage is not asked at all."""
    with pytest.raises(SourceUntrusted):
        content(client(lambda _: redirect(target)))


@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_expired_url_is_asked_for_anew_twice(status: int) -> None:
    """A fresh one works; three expired ones are a refusal."""
    fresh: list[str] = []

    def api(request: httpx.Request) -> httpx.Response:
        fresh.append(f"{SIGNED}&n={len(fresh)}")
        return redirect(fresh[-1])

    def storage(request: httpx.Request) -> httpx.Response:
        if str(request.url).endswith("n=2"):
            return httpx.Response(200, content=b"x")
        return httpx.Response(status, content=b"<Error><Code>AccessDenied</Code></Error>")

    assert content(client(api, storage)).data == b"x"
    twilio = client(api, storage)
    with pytest.raises(SourceRefused, match="storage refused the signed URL") as caught:
        content(twilio)
    assert caught.value.status == status
    assert twilio.traffic.requests == 6
    assert twilio.traffic.contents == 0


@pytest.mark.parametrize(("status", "requests"), [(304, 2), (404, 3), (410, 2), (416, 2)])
def test_anything_but_200_from_storage_is_no_content(status: int, requests: int) -> None:
    """An error document or a part must never be landed as a content; 404 is asked once more."""
    twilio = client(lambda _: redirect(), lambda _: httpx.Response(status, content=b"part"))
    with pytest.raises(SourceRefused) as caught:
        content(twilio)
    assert caught.value.status == status
    assert twilio.traffic.requests == requests
    assert XH in str(caught.value)


@pytest.mark.parametrize("status", [201, 202, 204, 226])
def test_another_success_than_that_of_a_whole_reply_is_kept_to_be_judged(status: int) -> None:
    """Asked again it would come the same way: it is neither landed nor left to the next export."""
    body = b"" if status == 204 else b"part"
    twilio = client(lambda _: redirect(), lambda _: httpx.Response(status, content=body))
    with pytest.raises(SourceDoubtful) as caught:
        content(twilio)
    assert (caught.value.status, caught.value.data) == (status, body)


def test_with_status_200_an_error_document_is_a_content() -> None:
    """The status decides; what a vendor puts into a payload is not ours to judge."""
    body = b"<Error><Code>AccessDenied</Code></Error>"
    twilio = client(lambda _: redirect(), lambda _: httpx.Response(200, content=body))
    assert content(twilio).data == body


def test_a_content_gone_at_twilio_is_refused_with_404_after_one_more_try() -> None:
    """The caller can tell lost from unavailable."""
    twilio = client(lambda _: problem(404, 20404))
    with pytest.raises(SourceRefused) as caught:
        content(twilio)
    assert (caught.value.status, caught.value.code) == (404, 20404)
    assert twilio.traffic.requests == 2


@pytest.mark.parametrize("broken", [503, 429, 500])
def test_storage_trouble_that_passes_is_waited_for(broken: int) -> None:
    """With the same URL."""
    twilio = client(lambda _: redirect(), in_turn(httpx.Response(broken), httpx.Response(200, content=b"x")))
    assert content(twilio).data == b"x"


def test_a_content_over_the_cap_is_not_trusted() -> None:
    """Counted while reading when nothing was announced."""
    twilio = client(
        lambda _: redirect(),
        lambda _: httpx.Response(200, headers={"Transfer-Encoding": "chunked"}, stream=Ends(*[b"x" * 100] * 100)),
        tuning=Tuning(content_cap=5000),
    )
    with pytest.raises(SourceUntrusted, match="more than 5000 bytes"):
        content(twilio)


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_content_has_time_in_proportion_to_its_size(announced: bool) -> None:
    """100 KiB/s for 200 s is in order; 32 KiB/s is not, and ends the attempt."""
    size = 200 * 102_400

    def storage(pause: float) -> TwilioClient:
        framing = {"Content-Length": str(size)} if announced else {"Transfer-Encoding": "chunked"}
        return client(
            lambda _: redirect(),
            lambda _: httpx.Response(
                200, headers=framing, stream=Ends(*[b"x" * 102_400] * (size // 102_400), pause=pause)
            ),
        )

    assert len(content(storage(1.0)).data) == size
    with pytest.raises(SourceUnavailable, match="deadline"):
        content(storage(3.2))


@pytest.mark.parametrize("sent", [0, 20_000_000])
def test_a_storage_that_falls_silent_is_given_up_after_the_deadline_whatever_it_announced(sent: int) -> None:
    """Neither the announced gigabyte nor what it sent at first buys it hours."""

    class Silent(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"x" * sent
            await asyncio.sleep(1e9)

    twilio = client(
        lambda _: redirect(),
        lambda _: httpx.Response(200, headers={"Content-Length": str(10**9)}, stream=Silent()),
        tuning=Tuning(budget=0.0, content_deadline=60.0),
    )

    async def fetching() -> float:
        with pytest.raises(SourceUnavailable, match="deadline"):
            await twilio.content(RE, XR, XH)
        return asyncio.get_running_loop().time()

    assert run_virtually(fetching()) == pytest.approx(60.0)


class Counted:
    """A byte budget that notes what it is asked, and can make one wait."""

    def __init__(self, delay: float = 0.0) -> None:
        self.held = 0
        self.asked: list[int] = []
        self.delay = delay

    async def acquire(self, size: int) -> None:
        """Take."""
        await asyncio.sleep(self.delay)
        self.asked.append(size)
        self.held += size

    def release(self, size: int) -> None:
        """Give back."""
        self.held -= size


def test_the_size_is_reserved_before_the_body_is_read_and_stays_reserved_with_the_content() -> None:
    """Failed attempts give theirs back; waiting for the budget, however long, breaks no deadline."""
    budget = Counted(delay=500.0)

    def storage() -> list[httpx.Response]:
        return [
            httpx.Response(503),
            httpx.Response(200, headers={"Content-Length": "7"}, stream=Ends(b"cut", breaks=True)),
            httpx.Response(200, headers={"Content-Length": "9"}, stream=Ends(b"short")),
            httpx.Response(200, content=b"hello"),
        ]

    async def fetching() -> Content:
        return await client(lambda _: redirect(), in_turn(*storage())).content(RE, XR, XH, budget=budget)

    fetched = run_virtually(fetching())
    assert (fetched.data, fetched.reserved) == (b"hello", 5)
    assert budget.asked == [7, 9, 5]
    assert budget.held == 5


def test_a_content_announced_over_the_cap_is_not_even_reserved() -> None:
    """A budget of megabytes must not wait for a content of terabytes."""
    budget = Counted()
    huge = httpx.Response(200, headers={"Content-Length": str(10**12)}, stream=Ends(b"x"))

    async def fetching() -> None:
        await client(lambda _: redirect(), lambda _: huge).content(RE, XR, XH, budget=budget)

    with pytest.raises(SourceUntrusted, match="more than"):
        run_virtually(fetching())
    assert budget.asked == []


def test_an_error_of_storage_that_shows_the_url_is_not_repeated() -> None:
    """Whatever a transport writes into its errors."""
    for error in (httpx.ConnectError(SIGNED), httpx.ReadError(SIGNED)):
        with pytest.raises(SourceUnavailable) as caught:
            content(client(lambda _: redirect(), in_turn(error)))
        assert SIGNATURE not in everything(caught.value)


def test_a_size_that_is_not_announced_reserves_nothing() -> None:
    """0 is what is known."""
    budget = Counted()
    chunked = httpx.Response(200, headers={"Transfer-Encoding": "chunked"}, stream=Ends(b"hello"))

    async def fetching() -> Content:
        return await client(lambda _: redirect(), lambda _: chunked).content(RE, XR, XH, budget=budget)

    assert run_virtually(fetching()).reserved == 0
    assert budget.asked == [0]


@pytest.mark.parametrize("when", [1.0, 3.0])
def test_cancelled_while_waiting_or_reading_nothing_stays_reserved_and_no_place_is_lost(when: float) -> None:
    """The budget takes 2 s, the body 10 s."""
    budget = Counted(delay=2.0)

    async def fetching() -> None:
        slow = httpx.Response(200, headers={"Content-Length": "2"}, stream=Ends(b"a", b"b", pause=5))
        twilio = client(lambda _: redirect(), lambda _: slow)
        task = asyncio.ensure_future(twilio.content(RE, XR, XH, budget=budget))
        await asyncio.sleep(when)
        assert twilio._storage._gate.in_flight == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert twilio._storage._gate.in_flight == 0

    run_virtually(fetching())
    assert budget.held == 0


# One add-on result, deletion, accounts


def test_one_add_on_result_is_returned_as_received_and_none_when_gone() -> None:
    """404 is asked twice before it is believed."""

    async def asking(twilio: TwilioClient) -> bytes | None:
        return await twilio.add_on_result(RE, XR)

    raw = b'{ "sid":"x", "sid":"y" }'
    assert run_virtually(asking(client(lambda _: httpx.Response(200, content=raw)))) == raw
    assert run_virtually(asking(client(in_turn(problem(404), httpx.Response(200, content=raw))))) == raw
    gone = client(lambda _: problem(404, 20404))
    assert run_virtually(asking(gone)) is None
    assert gone.traffic.requests == 2
    with pytest.raises(SourceRefused):
        run_virtually(asking(client(lambda _: problem(410))))


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (httpx.Response(204), DeleteOutcome.DELETED),
        (problem(404, 20404), DeleteOutcome.ABSENT),
        (httpx.Response(200, json={}), DeleteOutcome.UNKNOWN),
        (httpx.Response(202), DeleteOutcome.UNKNOWN),
        (httpx.Response(302, headers={"Location": f"{RESULTS}"}), DeleteOutcome.UNKNOWN),
        (problem(400), DeleteOutcome.UNKNOWN),
        (problem(409), DeleteOutcome.UNKNOWN),
        (problem(500, 20500), DeleteOutcome.UNKNOWN),
        (problem(503), DeleteOutcome.UNKNOWN),
        (httpx.ReadError("reset"), DeleteOutcome.UNKNOWN),
        (httpx.ConnectError("refused"), DeleteOutcome.UNKNOWN),
    ],
)
def test_a_delete_is_sent_once_and_only_a_direct_204_is_deleted(
    answer: httpx.Response | Exception, outcome: DeleteOutcome
) -> None:
    """A second one after a lost reply would find nothing and say nothing."""
    asked: list[httpx.Request] = []

    def api(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return in_turn(answer)(request)

    reply = run_virtually(client(api).delete_add_on_result(RE, XR))
    assert reply.outcome is outcome
    assert reply.status == (answer.status_code if isinstance(answer, httpx.Response) else None)
    assert [(request.method, request.url.path) for request in asked] == [
        ("DELETE", f"/2010-04-01/Accounts/{AC}/Recordings/{RE}/AddOnResults/{XR}.json")
    ]


def test_a_delete_that_hangs_is_unknown() -> None:
    """It may have been processed."""

    async def api(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(9999)
        return httpx.Response(204)

    assert run_virtually(client(api).delete_add_on_result(RE, XR)).outcome is DeleteOutcome.UNKNOWN


def test_a_throttled_delete_is_sent_again() -> None:
    """429 was not processed."""
    twilio = client(in_turn(problem(429, 20429), httpx.Response(204)))
    assert run_virtually(twilio.delete_add_on_result(RE, XR)).outcome is DeleteOutcome.DELETED
    assert twilio.traffic.requests == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_delete_without_permission_is_a_configuration_to_fix_and_sent_once(status: int) -> None:
    """Nothing was deleted."""
    twilio = client(lambda _: problem(status, 20003))
    with pytest.raises(FixConfiguration):
        run_virtually(twilio.delete_add_on_result(RE, XR))
    assert twilio.traffic.requests == 1


def test_accounts_are_listed_by_sid_and_status_only() -> None:
    """All pages; no token in what comes out."""
    other = "AC" + "f" * 32
    rows = [{"sid": AC, "status": "active", "auth_token": "t0ken"}, {"sid": other, "status": "closed"}]

    async def listing() -> list[tuple[str, str | None]]:
        twilio = client(
            in_turn(page("accounts", rows[:1], "/2010-04-01/Accounts.json?Page=1"), page("accounts", rows[1:]))
        )
        return [(account.sid, account.status) async for account in twilio.accounts()]

    assert run_virtually(listing()) == [(AC, "active"), (other, "closed")]


def test_traffic_counts_what_came_over_the_wire() -> None:
    """Bytes of bodies of both hosts, and contents."""
    twilio = client(lambda _: redirect(), lambda _: httpx.Response(200, content=b"x" * 1000))
    content(twilio)
    assert (twilio.traffic.contents, twilio.traffic.requests, twilio.traffic.retried) == (1, 2, 0)
    assert twilio.traffic.bytes_received == 1000


def test_items_of_a_page_are_bytes_that_parse() -> None:
    """The stages get JSON text, not objects."""

    async def listing() -> list[bytes]:
        twilio = client(lambda _: page("add_on_results", [{"sid": XR}]))
        return [item async for items in twilio.add_on_results(RE) for item in items]

    (item,) = run_virtually(listing())
    assert json.loads(item) == {"sid": XR}
