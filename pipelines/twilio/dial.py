"""How a connection is made: to an address that was checked, or through a proxy's tunnel, then TLS.

A name is resolved here, every address is checked where that is asked for, and the very address that was checked is
connected to: a name cannot change between check and use. Of several addresses the next one is tried as soon as one
fails or has not answered for a moment, so that a dead one (IPv6 without a way out, mostly) costs little.
"""

import asyncio
import errno
import ipaddress
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx

from pipelines.twilio.http1 import Connection
from pipelines.twilio.proxy import DIRECT, Proxies, Proxy
from pipelines.twilio.transport import AddressRefused, CertificateRefused, NoMoreFiles, ProxyRefused, reason_of

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The IP addresses of a host's name, the best one first; OSError when it has none."""

HEAD_START = 0.25
"""Seconds that an address has before the next one is tried as well (RFC 8305)."""

_KEPT_SECONDS = 10.0
"""How long the addresses of a name are believed."""

_LONGEST_TUNNEL_HEAD = 16 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go: one host and port, with TLS or without."""

    host: str
    port: int
    tls: bool


async def system_addresses(host: str, port: int) -> Sequence[str]:
    """What this machine's resolver says, in its order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Dialer:
    """Makes connections.

    Args:
        context: TLS settings.
        allowed: tells whether an IP address may be connected to; None allows all. What a proxy connects to for a name
            is the proxy's affair; an address written into the URL is checked all the same.
        proxies: the proxy for https, and what is reached without it.
        resolve: asked for the addresses of names.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        allowed: Callable[[str], bool] | None = None,
        proxies: Proxies = DIRECT,
        resolve: Resolve = system_addresses,
    ) -> None:
        self._context = context
        self._allowed = allowed
        self._proxies = proxies
        self._resolve = resolve
        self._known: dict[tuple[str, int], tuple[float, Sequence[str]]] = {}
        self._asked: dict[tuple[str, int], asyncio.Task[Sequence[str]]] = {}

    async def dial(self, origin: Origin, *, seconds: float, lost: Callable[[Connection], None]) -> Connection:
        """Connect; looking the name up is not counted in `seconds`.

        Raises:
            AddressRefused: there is no address that may be connected to.
            CertificateRefused, ProxyRefused, NoMoreFiles, httpx.ConnectError, ConnectTimeout, ProxyError: it failed.
        """
        problem: httpx.TransportError
        proxy = self._proxies.to(origin.host, origin.port) if origin.tls else None
        try:
            addresses = await self.addresses(origin.host, origin.port, proxy)
            async with asyncio.timeout(seconds):
                return await self._connection(origin, proxy, addresses, lost)
        except TimeoutError as error:
            # an OSError of the system may be one as well
            late = error.errno is None
            problem = httpx.ConnectTimeout("no connection in time") if late else httpx.ConnectError(reason_of(error))
        except ssl.SSLCertVerificationError as error:
            problem = CertificateRefused(error.verify_message or "it cannot be verified")
        except UnicodeError:  # a name that no resolver takes
            problem = httpx.ConnectError("no name of a host")
        except OSError as error:
            kind = NoMoreFiles if error.errno in (errno.EMFILE, errno.ENFILE) else httpx.ConnectError
            problem = kind(reason_of(error) + (", through the proxy in HTTPS_PROXY" if proxy is not None else ""))
        self._known.pop((origin.host, origin.port), None)
        raise problem  # outside `except`: nothing hangs on it

    async def _connection(
        self, origin: Origin, proxy: Proxy | None, addresses: Sequence[str], lost: Callable[[Connection], None]
    ) -> Connection:
        plain = await first_connected(addresses, origin.port if proxy is None else proxy.port)
        try:
            if proxy is not None:
                await _tunnel(plain, proxy, origin)
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(lost),
                sock=plain,
                ssl=self._context if origin.tls else None,
                server_hostname=origin.host if origin.tls else None,
            )
        except BaseException:
            plain.close()
            raise
        return connection

    async def addresses(self, host: str, port: int, proxy: Proxy | None) -> Sequence[str]:
        """What may be connected to for a host: its own addresses, or those of the proxy that leads there."""
        literal = _address_in(host)
        if literal is not None and not self._may(literal):
            raise AddressRefused("the host is an address that is not public")
        if proxy is not None:
            if _is_this_machine(host) and not self._may("127.0.0.1"):
                raise AddressRefused("the host is the proxy's own machine")
            inside = _address_in(proxy.host)
            return (inside,) if inside is not None else await self._looked_up(proxy.host, proxy.port)
        if literal is not None:
            return (literal,)
        found = await self._looked_up(host, port)
        if not found:
            raise OSError(None, "the name has no address")
        if not (allowed := [address for address in found if self._may(address)]):
            raise AddressRefused("the host resolves to no address that is public")
        return allowed

    def _may(self, address: str) -> bool:
        return self._allowed is None or self._allowed(address)

    async def _looked_up(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name; asked once for all who wait for them."""
        key, now = (host, port), asyncio.get_running_loop().time()
        until, addresses = self._known.get(key, (0.0, ()))
        if now < until:
            return addresses
        if (asked := self._asked.get(key)) is None:
            asked = self._asked[key] = asyncio.ensure_future(self._resolve(host, port))
            asked.add_done_callback(lambda done: self._note(key, done))
        return await asyncio.shield(asked)

    def _note(self, key: tuple[str, int], done: asyncio.Task[Sequence[str]]) -> None:
        del self._asked[key]
        if not done.cancelled() and done.exception() is None:
            self._known[key] = (asyncio.get_running_loop().time() + _KEPT_SECONDS, done.result())


def _address_in(host: str) -> str | None:
    """The IP address that a host is written as; None for a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _is_this_machine(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


async def first_connected(addresses: Sequence[str], port: int) -> socket.socket:
    """A socket to the first of the addresses that answers; families in turn, the first one's first.

    Raises:
        OSError: none does; the reason of the last that failed.
    """
    ahead = _in_turn(addresses)
    if len(ahead) == 1:
        return await _connected(ahead[0], port)
    trying: set[asyncio.Task[socket.socket]] = set()
    problem: BaseException = OSError(None, "the name has no address")
    try:
        while ahead or trying:
            if ahead:
                trying.add(asyncio.ensure_future(_connected(ahead.pop(0), port)))
            done, _ = await asyncio.wait(
                trying, timeout=HEAD_START if ahead else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                trying.discard(task)
                if (failed := task.exception()) is None:
                    trying |= done - {task}  # closed below, should two have answered at once
                    return task.result()
                problem = failed
        raise problem
    finally:
        for task in trying:
            if not task.cancel() and not task.cancelled() and task.exception() is None:
                task.result().close()


def _in_turn(addresses: Sequence[str]) -> list[str]:
    """IPv6 and IPv4 one after the other, so that a family without a way out is met once before the other is tried."""
    first = [each for each in addresses if (":" in each) == (":" in addresses[0])]
    others = [each for each in addresses if each not in first]
    return [each for pair in itertools.zip_longest(first, others) for each in pair if each is not None]


async def _connected(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


async def _tunnel(plain: socket.socket, proxy: Proxy, origin: Origin) -> None:
    """Have a proxy connect to a host; from then on what is sent goes there.

    Raises:
        ProxyRefused: the proxy does not want to, or wants credentials.
        httpx.ProxyError: it cannot, or what it says is not HTTP.
    """
    loop = asyncio.get_running_loop()
    authority = f"{f'[{origin.host}]' if ':' in origin.host else origin.host}:{origin.port}"
    login = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    await loop.sock_sendall(plain, f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{login}\r\n".encode("ascii"))
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await loop.sock_recv(plain, 4096)
        head += piece
        if not piece or len(head) > _LONGEST_TUNNEL_HEAD:
            raise httpx.ProxyError("the proxy in HTTPS_PROXY does not answer as one")
    version, _, rest = head.partition(b" ")
    status = int(rest[:3]) if version in {b"HTTP/1.1", b"HTTP/1.0"} and rest[:3].isdigit() else 0
    if 400 <= status < 500:
        raise ProxyRefused(f"HTTP {status}")
    if not (200 <= status < 300 and head.endswith(b"\r\n\r\n")):  # who is behind it speaks only when spoken to
        raise httpx.ProxyError(f"the proxy in HTTPS_PROXY answers {status or 'something else than HTTP'}")
