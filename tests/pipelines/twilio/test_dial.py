"""How a connection is made: which of several addresses, whose certificate, and through which proxy."""

import asyncio
import base64
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from assets.clients import own_client
from pipelines.errors import FixConfiguration, IncompleteExport, SourceBlocked
from pipelines.report import ExportReport, Progress
from pipelines.scope import Scope
from pipelines.settings import twilio_settings
from pipelines.twilio.certificates import Authorities, authorities, tls_context
from pipelines.twilio.client import Credential, connect
from pipelines.twilio.dial import HEAD_START
from pipelines.twilio.pool import open_transport
from pipelines.twilio.proxy import DIRECT, Proxies, Proxy, proxies
from pipelines.twilio.storage_url import address_allowed
from pipelines.twilio.transport import AddressRefused, CertificateRefused, Incoming, ProxyRefused
from tests.pipelines.twilio.made_up import AC, RE, SECRET, SIGNATURE, XH, XR, collect, everything
from tests.pipelines.twilio.sockets import AUTHORITY, RawServer, reply, serving

FINE = reply(b"fine")


def trusting() -> ssl.SSLContext:
    """TLS that believes the tests' own authority."""
    return tls_context(Authorities(file=str(AUTHORITY)))


def resolving(*addresses: str) -> object:
    """A resolver that answers so for every name, and counts."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        resolve.asked += 1  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        return addresses

    resolve.asked = 0  # type: ignore[attr-defined]
    return resolve


async def get(url: str, **options: object) -> bytes:
    """One body."""
    pool = open_transport(connections=4, **{"context": trusting(), **options})  # type: ignore[arg-type]
    try:
        incoming: Incoming = await pool.send("GET", url, {})
        body = await incoming.read()
        await incoming.aclose()
        return body
    finally:
        await pool.aclose()


def test_a_dead_address_costs_a_moment_and_a_refused_one_nothing() -> None:
    """IPv6 without a way out comes first in many networks."""
    full = socket.socket()  # takes connections, as many as fit into its queue, and never answers
    full.bind(("127.0.0.3", 0))
    full.listen(0)
    port = full.getsockname()[1]
    filling = [socket.socket() for _ in range(3)]
    for each in filling:
        each.setblocking(False)
        each.connect_ex(("127.0.0.3", port))

    async def asking() -> float:
        server = RawServer(lambda _: FINE)
        listener = await asyncio.start_server(server.serve, "127.0.0.1", port)
        began = time.monotonic()
        addresses = resolving("::1", "127.0.0.3", "127.0.0.1")  # refused, silent, fine
        assert await get(f"http://name.example:{port}/", resolve=addresses) == b"fine"
        took = time.monotonic() - began
        listener.close()
        for writer in server.open.values():
            writer.close()
        return took

    try:
        assert asyncio.run(asking()) < 20 * HEAD_START, "the system would have waited for two minutes"
    finally:
        for each in (full, *filling):
            each.close()


def test_no_address_answers_and_the_reason_is_said() -> None:
    """The system's words, not the address."""

    async def asking() -> None:
        async with serving(lambda _: FINE) as server:
            port = server.port
        with pytest.raises(httpx.ConnectError, match="refused") as caught:
            await get(f"http://name.example:{port}/", resolve=resolving("127.0.0.1", "127.0.0.2"))
        assert "127.0.0" not in str(caught.value)

    asyncio.run(asking())


def test_a_name_is_looked_up_once_for_all_who_wait_for_it() -> None:
    """A hundred connections to one host ask the resolver once."""

    async def asking() -> None:
        async with serving(lambda _: FINE) as server:
            resolve = resolving("127.0.0.1")
            pool = open_transport(connections=20, context=trusting(), resolve=resolve)  # type: ignore[arg-type]
            url = f"http://name.example:{server.port}/"
            for incoming in await asyncio.gather(*(pool.send("GET", url, {}) for _ in range(20))):
                await incoming.aclose()
            assert resolve.asked == 1  # type: ignore[attr-defined]
            await pool.aclose()

    asyncio.run(asking())


@pytest.mark.parametrize("host", ["a" * 70, "no-such-name.invalid", "a..b"])
def test_a_name_that_does_not_resolve_is_a_failed_connection(host: str) -> None:
    """Whatever the resolver thinks of it."""
    with pytest.raises(httpx.ConnectError):
        asyncio.run(get(f"http://{host}/"))


def test_an_address_in_the_url_is_checked_like_any_other() -> None:
    """Again where the connection is made, whoever checked the URL before."""
    for host in ("127.0.0.1", "[::1]", "169.254.169.254"):
        with pytest.raises(AddressRefused):
            asyncio.run(get(f"http://{host}:9/", allowed=lambda address: address_allowed(address, loopback=False)))


def test_a_certificate_of_an_authority_that_is_named_is_trusted(tmp_path: object) -> None:
    """SSL_CERT_FILE, and SSL_CERT_DIR with OpenSSL's names for files."""

    async def asking() -> None:
        async with serving(lambda _: FINE, tls=True) as server:
            for host in ("127.0.0.1", "localhost"):
                assert await get(f"https://{host}:{server.port}/") == b"fine"
            with pytest.raises(CertificateRefused, match=r"self-signed|unable to get"):
                await get(server.url, context=tls_context())
            other = f"https://other.example:{server.port}/"
            with pytest.raises(CertificateRefused, match="mismatch"):
                await get(other, resolve=resolving("127.0.0.1"))

    asyncio.run(asking())


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_authorities_that_cannot_be_read_are_a_setting_to_change(name: str, tmp_path: object) -> None:
    """One sentence with the setting and the reason."""
    with pytest.raises(FixConfiguration, match=f"{name} is '/no/such/place', which cannot be used: No such file"):
        tls_context(authorities({name: "/no/such/place"}))


def test_a_file_without_certificates_is_a_setting_to_change() -> None:
    """As /dev/null, or a key."""
    with pytest.raises(FixConfiguration, match="holds no certificate"):
        tls_context(authorities({"SSL_CERT_FILE": "/dev/null"}))


@dataclass
class Tunnels:
    """A proxy that connects everybody to one port of this machine, or answers as told."""

    to: int
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    port: int = 0
    heads: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One tunnel."""
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        if not self.answer.startswith(b"HTTP/1.1 2"):
            writer.close()
            return
        inner, outer = await asyncio.open_connection("127.0.0.1", self.to)
        await asyncio.gather(self._carry(reader, outer), self._carry(inner, writer), return_exceptions=True)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
        finally:
            target.close()


@asynccontextmanager
async def tunnelling(to: int) -> AsyncIterator[Tunnels]:
    """Listen on a free port of loopback."""
    tunnels = Tunnels(to)
    listener = await asyncio.start_server(tunnels.serve, "127.0.0.1", 0)
    tunnels.port = listener.sockets[0].getsockname()[1]
    try:
        yield tunnels
    finally:
        listener.close()


def test_https_goes_through_the_proxy_whose_affair_names_are() -> None:
    """A name that nobody here can resolve; the proxy sees host and port and its own credentials, and no more."""

    async def asking() -> None:
        async with serving(lambda _: FINE, tls=True) as server, tunnelling(server.port) as tunnels:
            way = proxies({"HTTPS_PROXY": f"http://me:s%40y@127.0.0.1:{tunnels.port}"})
            options = {"proxies": way, "allowed": lambda address: address_allowed(address, loopback=False)}
            assert await get("https://bucket.storage.example/x?signature", **options) == b"fine"
            login = base64.b64encode(b"me:s@y")
            assert tunnels.heads == [
                b"CONNECT bucket.storage.example:443 HTTP/1.1\r\nHost: bucket.storage.example:443\r\n"
                b"Proxy-Authorization: Basic " + login + b"\r\n\r\n"
            ]
            assert b"Proxy-Authorization" not in server.heads[0]
            for host in ("10.0.0.1", "[fd00::1]", "169.254.169.254", "localhost", "x.localhost", "127.0.0.1"):
                with pytest.raises(AddressRefused):
                    await get(f"https://{host}/x", **options)
            assert len(tunnels.heads) == 1

    asyncio.run(asking())


def test_a_proxy_that_refuses_is_not_asked_for_ever_and_one_that_fails_is() -> None:
    """407 and 403 are for the operator; 502 passes."""

    async def asking(answer: bytes) -> None:
        async with tunnelling(1) as tunnels:
            tunnels.answer = answer
            await get("https://name.example/", proxies=Proxies(Proxy("127.0.0.1", tunnels.port)))

    for refused in (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.0 403 Forbidden\r\n\r\n<html>"):
        with pytest.raises(ProxyRefused, match="HTTP 40"):
            asyncio.run(asking(refused))
    for broken in (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b"SSH-2.0\r\n\r\n", b"", b"HTTP/1.0 200 OK\r\n\r\nearly"):
        with pytest.raises(httpx.ProxyError):
            asyncio.run(asking(broken))


def test_a_proxy_that_is_not_there_is_named() -> None:
    """Else somebody looks for the reason at Twilio's."""
    with pytest.raises(httpx.ConnectError, match="refused, through the proxy in HTTPS_PROXY"):
        asyncio.run(get("https://name.example/", proxies=Proxies(Proxy("127.0.0.1", 9))))


@pytest.mark.parametrize(
    ("words", "direct"),
    [
        ("", False),
        ("*", True),
        ("twilio.com", True),
        (".twilio.com", True),
        ("*.twilio.com", True),
        ("API.Twilio.com", True),
        ("api.twilio.com:443", True),
        ("api.twilio.com:8443", False),
        ("wilio.com", False),
        ("io.com, localhost", False),
        ("10.0.0.0/8", False),
        ("localhost example.org twilio.com", True),
    ],
)
def test_no_proxy_names_hosts_as_elsewhere(words: str, *, direct: bool) -> None:
    """Names with all below them, ports, blanks or commas between."""
    way = proxies({"HTTPS_PROXY": "proxy.example:3128", "NO_PROXY": words})
    assert way.proxy == Proxy("proxy.example", 3128)
    assert (way.to("api.twilio.com", 443) is None) is direct


@pytest.mark.parametrize(
    ("word", "host"), [("10.0.0.0/8", "10.1.2.3"), ("::1", "::1"), ("fd00::/8", "fd00::1"), ("10.1.2.3", "10.1.2.3")]
)
def test_no_proxy_names_addresses_and_networks(word: str, host: str) -> None:
    """As Go and curl read them."""
    way = proxies({"HTTPS_PROXY": "proxy.example", "no_proxy": word})
    assert way.to(host, 443) is None
    assert way.to("11.0.0.1", 443) is not None


@pytest.mark.parametrize("text", ["https://proxy:1", "socks5://proxy:1", "http://", "http://proxy:x", "http://a b/"])
def test_a_proxy_that_cannot_be_used_is_a_setting_to_change(text: str) -> None:
    """Never ignored: what was to go through it must not go out directly."""
    with pytest.raises(FixConfiguration, match="HTTPS_PROXY must be"):
        proxies({"HTTPS_PROXY": text})


def test_without_a_setting_there_is_no_proxy() -> None:
    """HTTP_PROXY and ALL_PROXY are for others."""
    assert proxies({"HTTP_PROXY": "http://x", "ALL_PROXY": "http://x", "HTTPS_PROXY": " "}) == DIRECT


def test_an_api_whose_certificate_is_not_trusted_is_a_setting_to_change() -> None:
    """Not "run again": nothing changes by itself. The sentence names the host, the reason and the setting."""

    async def asking() -> None:
        async with serving(lambda _: FINE, tls=True) as server:
            async with connect(AC, Credential(AC, SECRET), base_url=server.url) as twilio:
                with pytest.raises(
                    FixConfiguration, match=r"127.0.0.1:\d+ cannot be asked: .*SSL_CERT_FILE \(.*certificate"
                ):
                    await collect(twilio.add_on_results(RE))
            assert server.heads == []

    asyncio.run(asking())


def test_storage_whose_certificate_is_not_trusted_keeps_its_contents_away_and_no_more() -> None:
    """With the setting that would change it, and without the URL."""

    async def asking() -> None:
        async with serving(lambda _: FINE, tls=True) as storage:
            location = f"Location: {storage.url}/x?{SIGNATURE}"
            async with (
                serving(lambda _: reply(b"", location, status="307 Temporary Redirect")) as server,
                connect(AC, Credential(AC, SECRET), base_url=server.url) as twilio,
            ):
                with pytest.raises(SourceBlocked, match="SSL_CERT_FILE") as caught:
                    await twilio.content(RE, XR, XH)
                assert SIGNATURE not in everything(caught.value)

    asyncio.run(asking())


def test_an_organisations_authority_and_proxy_are_two_settings() -> None:
    """As a command reads them from its environment, up to the reply."""

    async def asking() -> None:
        page = reply(b'{"add_on_results":[1],"next_page_uri":null}')
        async with serving(lambda _: page, tls=True) as server, tunnelling(server.port) as tunnels:
            settings = twilio_settings(
                {
                    "TWILIO_ACCOUNT_SID": AC,
                    "TWILIO_AUTH_TOKEN": SECRET,
                    "TWILIO_BASE_URL": "https://api.twilio.com",
                    "HTTPS_PROXY": f"http://127.0.0.1:{tunnels.port}",
                    "SSL_CERT_FILE": str(AUTHORITY),
                }
            )
            async with own_client(settings) as twilio:
                assert await collect(twilio.add_on_results(RE)) == [1]
            assert [head.split(b"\r\n")[0] for head in tunnels.heads] == [b"CONNECT api.twilio.com:443 HTTP/1.1"]

    asyncio.run(asking())


def test_what_a_setting_keeps_away_is_not_said_to_come_by_running_again() -> None:
    """Its reason is the first that is said; what else waits does come."""
    report = ExportReport(Scope(), Progress(), 1.0)
    report.progress.extraction.blocks("content XH1: not trusted, see SSL_CERT_FILE")
    with pytest.raises(
        IncompleteExport, match=r"had from Twilio now; change the setting that is named\. First: content XH1"
    ):
        report.verdict()
    report = ExportReport(Scope(), Progress(), 1.0)
    report.progress.extraction.waits("content XH2: too slow")
    report.progress.extraction.blocks("content XH1: not trusted, see SSL_CERT_FILE")
    with pytest.raises(
        IncompleteExport, match=r"; run again and change the setting that is named\. First: content XH1"
    ):
        report.verdict()
