"""Over real sockets, against a server that misbehaves: nothing cut, encoded or foreign passes for whole."""

import asyncio
import gzip
import hashlib
import ssl
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from pipelines.errors import SourceDoubtful, SourceRefused, SourceUnavailable, SourceUntrusted
from pipelines.holding import Content
from pipelines.twilio.certificates import Authorities, tls_context
from pipelines.twilio.client import Credential, DeleteOutcome, Tuning, connect
from pipelines.twilio.dial import Dialer
from pipelines.twilio.pool import open_transport
from pipelines.twilio.storage_url import address_allowed
from pipelines.twilio.transport import AddressRefused
from tests.pipelines.twilio.made_up import AC, RE, SECRET, SIGNATURE, XH, XR, collect
from tests.pipelines.twilio.sockets import AUTHORITY, CUT, ONE_ATTEMPT, RawServer, on_sockets, reply, serving

BODY = b'{"results":[{"transcript":"hello, this is the whole of it"}]}'
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:30], BODY[30:]))
    + b"0\r\n\r\n"
)
CODED = {
    "gzip": gzip.compress(BODY),
    "X-GZIP": gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]),
    "deflate": zlib.compress(BODY),
    "Deflate": zlib.compress(BODY, wbits=-15),
    "br": pa.Codec("brotli").compress(BODY).to_pybytes(),
    "zstd": pa.Codec("zstd").compress(BODY).to_pybytes(),
    "aws-chunked, gzip": gzip.compress(BODY),
    "br, gzip": gzip.compress(pa.Codec("brotli").compress(BODY).to_pybytes()),
}
UNFRAMED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"


def redirecting(
    port: Callable[[], int], storage: Callable[[bytes], bytes], path: str = "/signed", host: str = "127.0.0.1"
) -> Any:
    """Answers Data with a redirect to `path` on this server, anything else as `storage` does."""

    def answer(head: bytes) -> bytes:
        if b"/Data.json " in head.split(b"\r\n", 1)[0]:
            return reply(b"{}", f"Location: http://{host}:{port()}{path}?{SIGNATURE}", status="307 Temporary Redirect")
        return storage(head)

    return answer


async def fetch(storage: Callable[[bytes], bytes], *, tuning: Tuning | None = None) -> tuple[Content, RawServer]:
    """Fetch one content from a server whose storage answers so."""
    ports: list[int] = []
    async with serving(redirecting(lambda: ports[0], storage)) as server:
        ports.append(server.port)
        async with on_sockets(server.url, tuning=tuning) as twilio:
            return await twilio.content(RE, XR, XH), server


def in_turn(*answers: bytes) -> Callable[[bytes], bytes]:
    """Each once, then the last for ever."""
    left: Iterator[bytes] = iter(answers)
    last = answers[-1]
    return lambda _: next(left, last)


def test_a_content_arrives_whole_with_the_hash_of_the_wire() -> None:
    """Length given or chunked; the connection serves several requests."""
    for answer in (reply(BODY, "Content-Type: application/json"), CHUNKED):
        fetched, server = asyncio.run(fetch(in_turn(answer)))
        assert (fetched.data, fetched.sha256) == (BODY, hashlib.sha256(BODY).hexdigest())
        assert len(server.heads) == 2


@pytest.mark.parametrize("whole", [reply(BODY), CHUNKED], ids=["length", "chunked"])
def test_no_beginning_of_a_reply_passes_for_the_whole(whole: bytes) -> None:
    """Cut after each byte in turn: never a content, always `unavailable, run again`."""

    async def every_cut() -> None:
        ports: list[int] = []
        cut = 0
        async with serving(redirecting(lambda: ports[0], lambda _: whole[:cut] + CUT)) as server:
            ports.append(server.port)
            async with on_sockets(server.url, tuning=ONE_ATTEMPT) as twilio:
                # the last byte only ends the line after the last chunk: a reader may do without
                for cut in range(len(whole) - (1 if whole is CHUNKED else 0)):  # noqa: B007  # read by the server
                    with pytest.raises(SourceUnavailable):
                        await twilio.content(RE, XR, XH)
            assert len(server.heads) == 2 * (cut + 1)

    asyncio.run(every_cut())


def test_a_reply_cut_short_is_fetched_again() -> None:
    """Three kinds of cut, then the whole."""
    answers = (reply(BODY)[:-1] + CUT, CHUNKED[:-9] + CUT, CUT, reply(BODY))
    fetched, server = asyncio.run(fetch(in_turn(*answers)))
    assert fetched.data == BODY
    assert len(server.heads) == 5


def test_a_content_that_is_always_cut_is_unavailable_with_its_sid_and_how_long_was_tried() -> None:
    """Until the budget is spent."""
    with pytest.raises(SourceUnavailable, match=rf"{XH}: the reply ended early.*after \d\d attempts"):
        asyncio.run(fetch(in_turn(reply(BODY)[:-1] + CUT)))


def test_a_content_ended_by_closing_is_refused_after_one_more_try() -> None:
    """Something on the way may cut each of them at the same place, so not even two that agree are enough."""
    with pytest.raises(SourceDoubtful, match="does not say where it ends") as caught:
        asyncio.run(fetch(in_turn(UNFRAMED + BODY + CUT)))
    assert caught.value.data == BODY, "kept, for somebody to judge"
    fetched, _ = asyncio.run(fetch(in_turn(UNFRAMED + BODY[:9] + CUT, reply(BODY))))
    assert fetched.data == BODY


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "compress", "gzip, gzip"])
def test_a_coding_that_is_not_whole_is_no_content_and_its_bytes_are_kept_after_one_more_try(encoding: str) -> None:
    """Half a gzip stream decodes silently; a bomb decodes to gigabytes."""
    packed = gzip.compress(BODY)
    half = packed[: len(packed) // 2]
    with pytest.raises(SourceDoubtful, match="encoded") as caught:
        asyncio.run(fetch(in_turn(reply(half, f"Content-Encoding: {encoding}"))))
    assert caught.value.data == half
    fetched, _ = asyncio.run(fetch(in_turn(reply(packed, f"Content-Encoding: {encoding}"), reply(BODY))))
    assert fetched.data == BODY


@pytest.mark.parametrize(
    "word", ["identity", "utf-8", "aws-chunked", "BINARY", "none", "base64", "", "x-unknown", "br"]
)
def test_a_word_that_is_no_coding_changes_nothing(word: str) -> None:
    """Nor one that is and was not used: text is not what brotli makes."""
    fetched, _ = asyncio.run(fetch(in_turn(reply(BODY, f"Content-Encoding: {word}"))))
    assert (fetched.data, fetched.encoded_sha256) == (BODY, None)


@pytest.mark.parametrize("header", CODED)
def test_a_content_that_comes_encoded_is_decoded_and_has_the_hashes_of_both_forms(header: str) -> None:
    """With a length or in chunks; what ends with the connection is not proven by its coding."""
    packed = CODED[header]
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: %b\r\n\r\n" % header.encode()
    chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    for answer in (reply(packed, f"Content-Encoding: {header}"), chunked):
        fetched, _ = asyncio.run(fetch(in_turn(answer)))
        assert (fetched.data, fetched.sha256) == (BODY, hashlib.sha256(BODY).hexdigest())
        assert fetched.encoded_sha256 == hashlib.sha256(packed).hexdigest()


def test_a_part_that_is_the_whole_is_a_content_and_no_other_part_is() -> None:
    """Content-Range says so; also where nothing else says where it ends."""

    def part(said: str, body: bytes = BODY) -> bytes:
        return reply(body, f"Content-Range: {said}", status="206 Partial Content")

    last, size = len(BODY) - 1, len(BODY)
    closing = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-%d/%d\r\n\r\n%b" % (last, size, BODY)
    for answer in (part(f"bytes 0-{last}/{size}"), part(f"Bytes  0-{last}/{size}"), closing + CUT):
        assert asyncio.run(fetch(in_turn(answer)))[0].data == BODY
    for bad in (
        *(part(f"bytes 0-{last}/{size + 1}"), part(f"bytes 1-{size}/{size + 1}"), part(f"bytes 0-{last}/*")),
        *(part(f"bytes 0-{last}/{size}", BODY[:-1]), part(f"bytes 0-{last}/{size}", BODY + b"x"), part("")),
        closing[:-1] + CUT,
    ):
        with pytest.raises(SourceDoubtful, match="a part"):
            asyncio.run(fetch(in_turn(bad)))


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5x",
        b"Content-Length: -1",
        b"Transfer-Encoding: gzip",
    ],
)
def test_contradictory_framing_is_no_content(head: bytes) -> None:
    """Refused by the parser or by us; never a body that depends on who reads it."""
    with pytest.raises((SourceUntrusted, SourceUnavailable)):
        asyncio.run(fetch(in_turn(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + CUT)))


@pytest.mark.parametrize("word", [b" chunked\t", b"\x0bchunked", b" chunked\xa0", b" chunked\r\n "])
def test_what_is_said_to_be_chunked_and_is_read_until_the_end_is_no_content(word: bytes) -> None:
    """A parser takes these for another word, and so every beginning of the body for the whole of it."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding:" + word + b"\r\n\r\n"
    with pytest.raises((SourceUntrusted, SourceUnavailable)):
        asyncio.run(fetch(in_turn(head + b"40\r\n" + BODY[:20] + CUT), tuning=ONE_ATTEMPT))


def test_bytes_after_the_announced_length_do_not_answer_the_next_request() -> None:
    """A second reply smuggled behind the first is thrown away with its connection."""

    async def twice() -> None:
        smuggled = reply(b"evil" * 20)
        ports: list[int] = []
        async with serving(redirecting(lambda: ports[0], in_turn(reply(BODY) + smuggled, reply(BODY)))) as server:
            ports.append(server.port)
            async with on_sockets(server.url) as twilio:
                assert [(await twilio.content(RE, XR, XH)).data for _ in range(3)] == [BODY] * 3

    asyncio.run(twice())


def test_the_signed_url_is_sent_byte_for_byte_and_without_credentials() -> None:
    """`%2F`, `+`, `%20` and brackets as signed; no Authorization, no cookie, nothing decoded."""
    path = "/a%2Fb/c+d%20e/%E2%82%AC~(1)!'*;:@&=$,[x]"

    async def fetching() -> list[bytes]:
        ports: list[int] = []
        storage = in_turn(reply(BODY, "Set-Cookie: a=b"))
        # a name, because some clients take no cookies from hosts that are addresses
        async with serving(redirecting(lambda: ports[0], storage, path, "localhost")) as server:
            ports.append(server.port)
            async with on_sockets(server.url) as twilio:
                await twilio.content(RE, XR, XH)
                await twilio.content(RE, XR, XH)
            return server.heads

    api, storage, _, again = asyncio.run(fetching())
    assert storage.split(b"\r\n")[0] == f"GET {path}?{SIGNATURE} HTTP/1.1".encode()
    assert storage == again, "no cookie came back"
    assert b"authorization" not in storage.lower()
    assert b"\r\nauthorization: basic " in api.lower()
    assert b"accept-encoding: identity\r\n" in storage.lower()
    assert b"user-agent: addon-export/" in storage.lower()
    for head in (api, storage):
        names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:-2]]
        assert sorted(names) == sorted(set(names)), "no header is sent twice"


def test_tls_verifies_and_asks_nothing_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file with the keys of our sessions, no authorities but those that settings name, nothing before TLS 1.2."""
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    tls_context.cache_clear()
    context, named = tls_context(), tls_context(Authorities(file=str(AUTHORITY)))
    tls_context.cache_clear()
    assert context.cert_store_stats()["x509_ca"] > 100
    assert named.cert_store_stats()["x509_ca"] == 1, "in place of the public ones"
    for each in (context, named):
        assert each.keylog_filename is None
        assert each.check_hostname
        assert each.verify_mode is ssl.CERT_REQUIRED
        assert each.minimum_version is ssl.TLSVersion.TLSv1_2
    assert not keys.exists()


def test_next_page_uri_is_sent_byte_for_byte() -> None:
    """A page token is opaque."""
    path = f"/2010-04-01/Accounts/{AC}/Recordings/{RE}/AddOnResults.json"
    following = f"{path}?PageSize=1000&Page=1&PageToken=PA%2Fx+y%3D%3d"

    async def listing() -> list[bytes]:
        first = reply(b'{"add_on_results":[1],"next_page_uri":"%b"}' % following.encode())
        async with (
            serving(in_turn(first, reply(b'{"add_on_results":[2],"next_page_uri":null}'))) as server,
            on_sockets(server.url) as twilio,
        ):
            assert await collect(twilio.add_on_results(RE)) == [1, 2]
            return [head.split(b"\r\n")[0] for head in server.heads]

    assert asyncio.run(listing())[1] == f"GET {following} HTTP/1.1".encode()


def test_a_delete_whose_reply_is_lost_is_on_the_wire_once() -> None:
    """The control: a GET that ends the same way is asked again, and the judge sees it."""

    async def asking() -> tuple[int, int]:
        async with serving(lambda _: CUT) as server, on_sockets(server.url) as twilio:
            reply = await twilio.delete_add_on_result(RE, XR)
            assert reply.outcome is DeleteOutcome.UNKNOWN
            deletes = len(server.heads)
            with pytest.raises(SourceUnavailable):
                await twilio.add_on_result(RE, XR)
            return deletes, len(server.heads) - deletes

    deletes, gets = asyncio.run(asking())
    assert deletes == 1
    assert gets > 1


def test_a_connection_closed_while_idle_is_replaced() -> None:
    """A server that closes after each reply costs connections, not answers."""

    async def many() -> None:
        async with (
            serving(lambda _: reply(b'{"add_on_results":[],"next_page_uri":null}') + CUT) as server,
            on_sockets(server.url) as twilio,
        ):
            for _ in range(5):
                assert await collect(twilio.add_on_results(RE)) == []

    asyncio.run(many())


def test_a_host_that_does_not_listen_is_unavailable_and_says_why() -> None:
    """Without the system's reason nobody finds the firewall."""

    async def asking() -> None:
        async with serving(lambda _: b"") as server:
            url = server.url
        async with on_sockets(url) as twilio:
            with pytest.raises(SourceUnavailable, match=r"the connection failed \(.*refused.*\), after \d+ attempts"):
                await collect(twilio.add_on_results(RE))

    asyncio.run(asking())


def test_a_connection_whose_handshake_hangs_is_given_up_soon_and_made_again() -> None:
    """Its limit is its own, so that one stalled handshake does not cost what a slow reply may."""

    async def asking() -> None:
        async with serving(lambda _: b"") as server:
            api = open_transport(connections=1, context=tls_context())
            with pytest.raises(httpx.ConnectTimeout):
                await api.send("GET", f"https://127.0.0.1:{server.port}/", {}, connect=0.1)
            await api.aclose()

    asyncio.run(asking())


def test_a_server_that_never_answers_meets_the_deadline() -> None:
    """On real sockets, too."""

    async def asking() -> None:
        hurry = Tuning(budget=0.0, unanswered_budget=0.0, api_deadline=0.1)
        async with serving(lambda _: b"") as server, on_sockets(server.url, tuning=hurry) as twilio:
            with pytest.raises(SourceUnavailable, match="deadline"):
                await collect(twilio.add_on_results(RE))

    asyncio.run(asking())


def test_a_long_location_is_read() -> None:
    """A signed URL with a session token has thousands of bytes."""

    async def fetching() -> None:
        ports: list[int] = []
        path = "/" + "k" * 20_000
        async with serving(redirecting(lambda: ports[0], lambda _: reply(BODY), path)) as server:
            ports.append(server.port)
            async with on_sockets(server.url) as twilio:
                assert (await twilio.content(RE, XR, XH)).data == BODY

    asyncio.run(fetching())


def test_connect_reads_from_the_network_and_ignores_proxy_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings name a proxy, not the environment; and of plain http one would see signed URLs."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def fetching() -> None:
        ports: list[int] = []
        async with serving(redirecting(lambda: ports[0], lambda _: reply(BODY))) as server:
            ports.append(server.port)
            async with connect(AC, Credential(AC, SECRET), base_url=server.url, max_concurrency=2) as twilio:
                assert (await twilio.content(RE, XR, XH)).data == BODY

    asyncio.run(fetching())


def test_a_name_that_resolves_to_an_address_inside_is_not_connected_to() -> None:
    """The address is checked when connecting, so no spelling of a name gets round it."""

    async def asking() -> None:
        async with serving(lambda _: reply(BODY)) as server:
            storage = open_transport(
                connections=1,
                context=tls_context(),
                allowed=lambda address: address_allowed(address, loopback=False),
            )
            for url in (f"http://localhost:{server.port}/", f"https://localhost:{server.port}/"):
                with pytest.raises(AddressRefused):
                    await storage.send("GET", url, {})
            await storage.aclose()
            assert server.connections == 0

    asyncio.run(asking())


def test_a_redirect_to_a_name_that_resolves_inside_is_untrusted() -> None:
    """The same through the client, as one sentence without the URL."""

    async def asking() -> None:
        def answer(head: bytes) -> bytes:
            return reply(b"", f"Location: http://localhost:1/x?{SIGNATURE}", status="307 Temporary Redirect")

        async with serving(answer) as server, on_sockets(server.url, loopback=False) as twilio:
            with pytest.raises(SourceUntrusted, match="address is not public") as caught:
                await twilio.content(RE, XR, XH)
            assert SIGNATURE not in str(caught.value)

    asyncio.run(asking())


def test_of_several_addresses_those_inside_are_not_used() -> None:
    """A name with a public and a private address is public; one that has only private ones is refused."""

    async def addresses(*found: str) -> list[str]:
        async def resolve(host: str, port: int) -> list[str]:
            return list(found)

        dialer = Dialer(
            tls_context(), allowed=lambda address: address_allowed(address, loopback=False), resolve=resolve
        )
        return list(await dialer.addresses("x", 443, None))

    async def resolving() -> None:
        assert await addresses("8.8.8.8", "2606:4700::1111") == ["8.8.8.8", "2606:4700::1111"]
        for inside in ("10.0.0.1", "169.254.169.254", "fe80::1%eth0", "::ffff:127.0.0.1", "127.0.0.1"):
            assert await addresses(inside, "8.8.8.8", inside) == ["8.8.8.8"]
            with pytest.raises(AddressRefused):
                await addresses(inside, inside)

    asyncio.run(resolving())


def test_storage_that_has_nothing_is_refused_over_the_wire() -> None:
    """404 with an XML document is no content."""
    error = reply(b"<Error><Code>NoSuchKey</Code></Error>", status="404 Not Found")
    with pytest.raises(SourceRefused) as caught:
        asyncio.run(fetch(in_turn(error)))
    assert caught.value.status == 404
