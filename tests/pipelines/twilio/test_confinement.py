"""Credentials reach one host, and nothing inside the network is connected to, whatever replies and names say.

Judged by listeners and by Python's audit events, not by what the client says. `make trial NAME=leaks` takes 500 URLs.
"""

import asyncio
import contextlib
import functools
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urljoin

import httpx
import pytest

from pipelines.errors import SourceError
from pipelines.twilio.certificates import tls_context
from pipelines.twilio.client import Credential, Tuning, TwilioClient
from pipelines.twilio.pool import open_transport
from pipelines.twilio.storage_url import address_allowed
from pipelines.twilio.transport import HttpxTransport, Transport
from tests.pipelines.twilio.hostile import filled, hostile_urls
from tests.pipelines.twilio.made_up import AC, BASE, DATA, RE, RESULTS, SECRET, XH, XR
from tests.pipelines.twilio.sockets import CUT, RawServer, on_sockets, reply
from tests.pipelines.twilio.test_storage_url import HOSTS
from tests.pipelines.twilio.wiretap import Names, connections

COUNT = int(os.environ.get("HOSTILE_URLS", "120"))
SEED = 6
SPELLINGS = [host for host in HOSTS if host.strip("*")]
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255", "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "::1", "::", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1", "::127.0.0.1", "fd00::1", "fd00:ec2::254", "fc00::1", "fe80::1", "fe80::1%1", "fec0::1",
    "ff02::1",
    "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::",
    "2001:0:7f00:1::", "2001:db8::1",
    "3fff::1", "100::1",
]  # fmt: skip
PUBLIC = "93.184.216.34"


@dataclass
class Stage:
    """The API's listener, a foreign one, and what they answer about."""

    url: str = ""
    location: bool = True
    api: RawServer = field(default_factory=lambda: RawServer(lambda _: b""))
    evil: RawServer = field(default_factory=lambda: RawServer(lambda _: b""))

    def answer(self, head: bytes) -> bytes:
        """As the API: the hostile URL wherever a URL can be."""
        row = {"sid": XR, "uri": self.url, "subresource_uris": {"payloads": self.url}, "redirect_to": self.url}
        keys = ("recordings", "add_on_results", "payloads", "accounts")
        page = {"next_page_uri": self.url, "first_page_uri": self.url, "uri": self.url, **{k: [row] for k in keys}}
        if b"Data.json" not in head:
            return reply(json.dumps(page).encode())
        if self.location:
            location = f"Location: {self.url}".encode("utf-8", "surrogatepass")
            return b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n" + location + b"\r\n\r\n"
        return reply(json.dumps({"redirect_to": self.url}).encode())

    def answer_evil(self, head: bytes) -> bytes:
        """As the foreign host: sends on to the API, to itself, or answers as if it were the API."""
        number = len(self.evil.heads) % 3
        to = (f"{self.api.url}{DATA}", f"{self.evil.url}/again")[number % 2]
        if number < 2:
            return reply(b"", f"Location: {to}", status="302 Found") + CUT
        return reply(b'{"recordings":[],"add_on_results":[],"payloads":[],"accounts":[]}') + CUT

    def stolen(self) -> list[bytes]:
        """Requests at the foreign host that carry anything of the credentials."""
        return [h for h in self.evil.heads if b"authorization:" in h.lower() or SECRET.encode() in h]


@contextlib.asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """Both listeners, on different addresses of loopback."""
    stage = Stage()
    stage.api.answer, stage.evil.answer = stage.answer, stage.answer_evil
    listeners = []
    for server, host in ((stage.api, "127.0.0.1"), (stage.evil, "127.0.0.2")):
        listener = await asyncio.start_server(server.serve, host, 0, limit=1 << 20)
        server.port = listener.sockets[0].getsockname()[1]
        listeners.append(listener)
    try:
        yield stage
    finally:
        for listener, server in zip(listeners, (stage.api, stage.evil), strict=True):
            listener.close()
            for writer in server.open.values():
                writer.close()
            await asyncio.gather(*server.open, return_exceptions=True)
            await listener.wait_closed()


async def _drain(pages: AsyncIterator[object]) -> None:
    async for _ in pages:
        pass


async def _everything(client: TwilioClient, stage: Stage) -> int:
    """Read every list and the content both ways; how many of them were refused."""
    refused = 0
    for location in (True, False):
        stage.location = location
        try:
            await client.content(RE, XR, XH)
        except SourceError:
            refused += 1
    for pages in (client.add_on_results(RE), client.payloads(RE, XR), client.accounts()):
        try:
            await _drain(pages)
        except SourceError:
            refused += 1
    return refused


def test_credentials_reach_one_host_whatever_the_replies_say() -> None:
    """Hostile URLs in every place of a reply, with redirect chains behind them."""
    refused = 0

    async def run() -> None:
        nonlocal refused
        async with staged() as stage:
            evil = f"127.0.0.2:{stage.evil.port}"
            urls = hostile_urls(COUNT, SEED)
            for template in urls:
                stage.url = filled(template, api=f"127.0.0.1:{stage.api.port}", evil=evil, path=RESULTS)
                tuning = Tuning(budget=0.0, unanswered_budget=0.0, most_pages=5)
                async with on_sockets(stage.api.url, tuning=tuning) as client:
                    refused += await _everything(client, stage)
                assert stage.stolen() == [], stage.url
            assert len(stage.api.heads) >= 5 * len(urls)
            assert all(b"\r\nhost: 127.0.0.1:" in head.lower() for head in stage.api.heads)
            assert stage.evil.heads, "nothing reached the foreign host: the judge saw nothing"

    with connections() as tried:
        asyncio.run(run())
    assert set(tried) <= {"127.0.0.1", "127.0.0.2", "::1"}
    assert refused > 3 * COUNT


def test_a_naive_client_leaks() -> None:
    """The control: httpx with auth and a base URL sends the credentials to the foreign host, and the judge sees it."""

    async def run() -> int:
        async with staged() as stage, httpx.AsyncClient(auth=(AC, SECRET), base_url=stage.api.url) as naive:
            for template in ("http://{evil}{path}", "//{evil}{path}", "http://{api}@{evil}{path}"):
                evil = f"127.0.0.2:{stage.evil.port}"
                stage.url = filled(template, api=f"127.0.0.1:{stage.api.port}", evil=evil, path=RESULTS)
                page = (await naive.get(RESULTS)).json()
                await naive.get(urljoin(stage.api.url, page["next_page_uri"]))
            return len(stage.stolen())

    assert asyncio.run(run()) == 3


def _fetch(target: str, storage: Transport, *, tuning: Tuning | None = None) -> BaseException | None:
    """Fetch a content that Twilio says is at `target`; the error, if any."""

    async def no_wait(seconds: float) -> None:
        await asyncio.sleep(0)

    async def run() -> BaseException | None:
        client = TwilioClient(
            AC,
            Credential(AC, SECRET),
            base_url=BASE,
            api=HttpxTransport(httpx.MockTransport(lambda _: httpx.Response(307, json={"redirect_to": target}))),
            storage=storage,
            tuning=tuning or Tuning(budget=0.0, unanswered_budget=0.0),
            sleep=no_wait,
            random=lambda: 1.0,
        )
        async with client:
            try:
                await client.content(RE, XR, XH)
            except SourceError as error:
                return error
        return None

    return asyncio.run(run())


def _storage(names: Names, *, loopback: bool = False) -> Transport:
    allowed = functools.partial(address_allowed, loopback=loopback)
    return open_transport(connections=2, context=tls_context(), allowed=allowed, resolve=names)


def test_no_spelling_of_a_private_address_is_connected_to() -> None:
    """Written into the URL, in every notation."""
    assert len(SPELLINGS) > 60
    with connections() as tried:
        for host in SPELLINGS:
            assert _fetch(f"https://{host}/x?y", _storage(Names({"*": [["127.0.0.1"]]}))) is not None, host
    assert tried == []


@pytest.mark.parametrize("mixed", ["alone", "first", "last"])
def test_no_name_of_a_private_address_is_connected_to(mixed: str) -> None:
    """Where the name has a public address as well, that one alone is used."""
    assert len(PRIVATE) > 40
    with connections() as tried:
        for address in PRIVATE:
            answer = {"alone": [address], "first": [address, PUBLIC], "last": [PUBLIC, address]}[mixed]
            assert _fetch("https://bucket.storage.example/x?y", _storage(Names({"*": [answer]}))) is not None
    assert set(tried) == (set() if mixed == "alone" else {PUBLIC})


def test_the_address_that_was_checked_is_the_one_connected_to() -> None:
    """A name that is public at first and private afterwards: each connection is to what was checked for it."""
    names = Names({"*": [[PUBLIC], ["127.0.0.1"]]})
    with connections() as tried:
        error = _fetch("https://rebinding.example/x?y", _storage(names), tuning=Tuning())
    assert error is not None
    assert set(tried) == {PUBLIC}


def test_without_the_check_a_private_address_is_connected_to() -> None:
    """The control: the same name through a resolver that allows everything reaches loopback, and the judge sees it."""
    storage = open_transport(
        connections=1, context=tls_context(), allowed=lambda _: True, resolve=Names({"*": [["127.0.0.1"]]})
    )
    with connections() as tried:
        _fetch("https://bucket.storage.example:1/x?y", storage)
    assert tried == ["127.0.0.1"]


@pytest.mark.parametrize("address", [a for a in PRIVATE if not a.startswith(("127.", "::1", "::ffff:127."))])
def test_a_source_on_loopback_opens_loopback_only(address: str) -> None:
    """TWILIO_BASE_URL on this machine permits this machine, not the network around it."""
    assert not address_allowed(address, loopback=True)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"])
def test_proxies_of_the_environment_are_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy could be told to see every request; one that settings name carries https only, which it cannot read."""

    async def run() -> int:
        async with staged() as stage:
            monkeypatch.setenv(name, stage.evil.url)
            async with on_sockets(stage.api.url) as client:
                stage.url = f"{stage.api.url}/x"
                with contextlib.suppress(SourceError):
                    await _drain(client.add_on_results(RE))
            return len(stage.evil.heads)

    assert asyncio.run(run()) == 0
