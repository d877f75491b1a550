"""What the clients of all accounts share: the connections to Twilio and to storage, their ceilings, Twilio's clock.

A ceiling for each account would grow with the number of accounts, past what a process may open. The credentials are in
the requests and not in the connections, so a connection serves one account after the other; storage is reached over
connections of its own, which never carry a credential.
"""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from pipelines.records.sids import AccountSid
from pipelines.twilio.base_url import checked_base_url
from pipelines.twilio.certificates import PUBLIC, Authorities, tls_context
from pipelines.twilio.client import TwilioClient
from pipelines.twilio.pool import open_transport
from pipelines.twilio.proxy import DIRECT, Proxies
from pipelines.twilio.source_clock import SourceClock
from pipelines.twilio.storage_url import IpNetwork, address_allowed
from pipelines.twilio.transport import CONNECT_SECONDS, Incoming, Transport, Waiter
from pipelines.twilio.values import MAX_CONCURRENCY, Ceilings, Credential, Tuning

_DEFAULTS = Tuning()


class Network:
    """Connections that several clients share; an async context manager that closes them.

    Args:
        base_url: where the API is.
        ceilings: on connections, and so on requests in flight; what one account may have is its client's own matter.
        networks: where contents may be stored beside the public internet.
        authorities: whom certificates may come from.
        proxies: the way out, where there is only one.

    Raises:
        FixConfiguration: the base URL is neither https nor on this machine, or the authorities cannot be read.
    """

    def __init__(
        self,
        base_url: str,
        ceilings: Ceilings,
        *,
        networks: Sequence[IpNetwork] = (),
        authorities: Authorities = PUBLIC,
        proxies: Proxies = DIRECT,
    ) -> None:
        self._base_url, loopback = checked_base_url(base_url)
        self._ceilings = ceilings
        self._networks = networks
        context = tls_context(authorities)
        self._api = open_transport(connections=ceilings.api, context=context, proxies=proxies)
        self._storage = open_transport(
            connections=ceilings.storage,
            context=context,
            proxies=proxies,
            allowed=functools.partial(address_allowed, loopback=loopback, networks=networks),
        )
        self._clock = SourceClock()
        self._places = asyncio.Semaphore(ceilings.api), asyncio.Semaphore(ceilings.storage)

    def client(
        self,
        account_sid: AccountSid,
        credential: Credential,
        *,
        max_concurrency: int = MAX_CONCURRENCY,
        tuning: Tuning = _DEFAULTS,
    ) -> TwilioClient:
        """A client for one account; it needs not be closed."""
        return TwilioClient(
            account_sid,
            credential,
            base_url=self._base_url,
            api=_Lent(self._api),
            storage=_Lent(self._storage),
            places=self._places,
            max_concurrency=min(max_concurrency, self._ceilings.api),
            max_downloads=min(max_concurrency, self._ceilings.storage),
            tuning=tuning,
            source_clock=self._clock,
            networks=self._networks,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for transport in (self._api, self._storage):
            await transport.aclose()


class _Lent:
    """A transport of somebody else's: it stays open when the client that uses it is closed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        connect: float = CONNECT_SECONDS,
        waiter: Waiter | None = None,
    ) -> Incoming:
        """Send a request over it."""
        return await self._transport.send(method, url, headers, connect=connect, waiter=waiter)

    async def aclose(self) -> None:
        """Leave it open."""
