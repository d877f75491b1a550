"""Reads the add-on results of one Twilio account, and deletes single ones when told to.

Promises: items are handed on as the bytes received; a content is whole and its SHA-256 is that of the
wire; the credentials go to the API host only; a signed URL is used at once and is never stored, logged or
put into an error; a DELETE is sent once (again only after a 429, which Twilio does not process). Anything
that passes is asked again within a time budget, anything else raises one of the `SourceError`s or
`FixConfiguration`. Must not interpret records, choose what to read, or follow anything but the next page
and one signed URL.
"""

import asyncio
import contextlib
import functools
import random as chance
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from types import TracebackType
from typing import Self

import httpx

from pipelines.errors import (
    AccountRefused,
    ExportError,
    FixConfiguration,
    SourceDoubtful,
    SourceRefused,
    SourceUntrusted,
    known_facts,
)
from pipelines.holding import ByteBudget, Content, SpoolFile
from pipelines.records.sids import AccountSid, AddOnResultSid, PayloadSid, RecordingSid
from pipelines.twilio.attempt import ANY_BODY, NO_CONTENT, REDIRECTS, Ask, Line
from pipelines.twilio.base_url import checked_base_url, host_of, region_of
from pipelines.twilio.certificates import tls_context
from pipelines.twilio.failure import BLOCKED, Cause, Failure, cause_of_status, error_for
from pipelines.twilio.host import GaveUp, Host, Places, Traffic
from pipelines.twilio.limiter import Gate, Window
from pipelines.twilio.paging import Listing, Page, read_page, read_subaccount, redirect_in
from pipelines.twilio.pool import open_transport
from pipelines.twilio.resources import Resources, api_headers, storage_headers
from pipelines.twilio.source_clock import SourceClock
from pipelines.twilio.storage_url import IpNetwork, SignedUrl, address_allowed, signed_url, within
from pipelines.twilio.transport import HttpxTransport, Transport
from pipelines.twilio.values import (
    MAX_CONCURRENCY,
    MAX_DOWNLOADS,
    Credential,
    DeleteOutcome,
    DeleteReply,
    Subaccount,
    Tuning,
)
from pipelines.twilio.wire import Reply

__all__ = [
    "MAX_CONCURRENCY",
    "ByteBudget",
    "Credential",
    "DeleteOutcome",
    "DeleteReply",
    "Subaccount",
    "Traffic",
    "Tuning",
    "TwilioClient",
    "connect",
]

_BAD_PAGE_TOKEN = 21481
_FRESH_URLS = 3  # how often Data is asked for one content: a signed URL may expire before it is used
_MOST_PLACES = 5  # of one content: Data, the signed URL, and where storage sends on to, such as its own region
_START = 64  # concurrent API requests at first; one that is refused costs no more than itself
_RECORDINGS_PAGE = 3 << 20  # bytes; a thousand documented ones take 0.9 MB, with encryption details 1.6
_ORDINARY_PAGE = 256 * 1024  # bytes, of what belongs to one recording: 400 add-on results
_SAME_PAGES = 20  # of a list, one after the other: it goes round in a circle by ever new addresses
_LARGE_LISTS = 2  # lists of the same kind with larger pages, worked on at once
_TIME_DEADLINE = 5.0  # seconds for a reply that says no more than what time it is
_DEFAULTS = Tuning()

KEPT_BYTES = 16 << 20
"""Of a content that is in doubt, the most that is handed on to be kept."""


class TwilioClient:
    """One account's recordings, add-on results, payloads and contents; an async context manager.

    All methods raise SourceUnavailable, SourceRefused or SourceUntrusted as `pipelines.errors` says, and
    AccountRefused when Twilio refuses the credentials: a 401, or a 403 before anything else was answered. After that
    nothing more is sent. A later 403 is a SourceForbidden, of the one thing that was asked for.

    Attributes:
        account_sid: the account whose resources are read.
        traffic: counters, growing while the client works.
    """

    def __init__(
        self,
        account_sid: AccountSid,
        credential: Credential,
        *,
        base_url: str,
        api: Transport | httpx.AsyncBaseTransport,
        storage: Transport | httpx.AsyncBaseTransport,
        places: tuple[Places, Places] | None = None,
        max_concurrency: int = MAX_CONCURRENCY,
        max_downloads: int = MAX_DOWNLOADS,
        tuning: Tuning = _DEFAULTS,
        networks: Sequence[IpNetwork] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = chance.random,
        source_clock: SourceClock | None = None,
    ) -> None:
        """`places`: what all accounts share, of the API and of storage; this account's own ceilings are the maxima."""
        api_places, storage_places = places or (contextlib.nullcontext(), contextlib.nullcontext())
        self.account_sid = account_sid
        self.traffic = Traffic()
        self._clock = SourceClock() if source_clock is None else source_clock
        self._resources = Resources(account_sid)
        self._base_url, self._loopback = checked_base_url(base_url)
        region = region_of(self._base_url)
        at = host_of(self._base_url) + (f", region {region}" if region is not None else "")
        self._asked_with = f"the {credential.kind}, at {at}"
        self._tuning, self._sleep = tuning, sleep
        self._networks = networks
        api, storage = (HttpxTransport(t) if isinstance(t, httpx.AsyncBaseTransport) else t for t in (api, storage))
        self._transports = (api, storage)
        self._api = Host(
            Line(api, api_headers(credential), cause_of_status, discreet=False, heard=self._clock.hear),
            Gate(Window(start=_START, ceiling=max_concurrency)),
            api_places,
            traffic=self.traffic,
            tuning=tuning,
            sleep=sleep,
            random=random,
        )
        self._large_page = asyncio.Semaphore(1)
        # one each, as the payloads of results in a large page are listed while that page is in hand
        self._large_results, self._large_payloads = asyncio.Semaphore(_LARGE_LISTS), asyncio.Semaphore(_LARGE_LISTS)
        downloads = min(max_downloads, max_concurrency)
        self._storage = Host(
            Line(storage, storage_headers(), _cause_of_storage_status, discreet=True),
            Gate(Window(start=downloads, ceiling=downloads)),
            storage_places,
            traffic=self.traffic,
            tuning=tuning,
            sleep=sleep,
            random=random,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for transport in self._transports:
            await transport.aclose()

    def recordings(self, first_day: date, last_day: date) -> AsyncIterator[tuple[bytes, ...]]:
        """List the recordings created on the UTC days from `first_day` to `last_day`, deleted ones included.

        Yields pages; each item is one recording's JSON as received. The source's idea of the bounds is
        vague and rows may come twice (new ones arrive while paging; a list begins again once when Twilio
        forgets its page token): the caller filters by date and keeps one per SID.
        """
        return self._pages(self._resources.recordings(first_day, last_day))

    async def few_recordings(self, first_day: date, last_day: date) -> tuple[bytes, ...] | None:
        """The same list, if it is one ordinary page; None when it is longer, and has to be read as it is."""
        listing = self._resources.recordings(first_day, last_day)
        page = await self._page(listing.first_uri, listing, min(_RECORDINGS_PAGE, self._tuning.page_cap))
        return None if page is None or page.next_uri is not None else page.items

    def add_on_results(self, recording: RecordingSid) -> AsyncIterator[tuple[bytes, ...]]:
        """List the add-on results of a recording; pages and duplicates as in `recordings`.

        Of lists with pages of more than 256 KB two are read at once, each until its last page is done with, so that
        the caller holds no more. Payloads may be listed meanwhile, but not the results of another recording.
        """
        return self._pages(self._resources.add_on_results(recording), self._large_results)

    def payloads(self, recording: RecordingSid, result: AddOnResultSid) -> AsyncIterator[tuple[bytes, ...]]:
        """List the payloads of an add-on result; as `add_on_results`, no other payloads meanwhile."""
        return self._pages(self._resources.payloads(recording, result), self._large_payloads)

    async def content(
        self,
        recording: RecordingSid,
        result: AddOnResultSid,
        payload: PayloadSid,
        *,
        budget: ByteBudget | None = None,
        spool: Callable[[], SpoolFile] | None = None,
        content_type: str | None = None,
    ) -> Content:
        """Fetch the bytes of a payload.

        With a `budget`, the announced size (0 if storage announces none) is acquired before the body is
        read, outside all deadlines, and released again when the attempt fails. On success it stays
        acquired, and is given back by `Content.release`, which the caller calls when done with the bytes.
        While waiting for the budget a place for downloads is held, so do not hold other contents and wait
        for more of them.

        With a `spool`, contents announced to be larger than 4 MB go to a file of it and acquire 1 MB; those
        without a length acquire 256 KB and go there when they turn out to be larger.

        `content_type` is what the payload is said to be: unless that is markup, a page of it in place of the redirect
        is a fault of the server.

        Raises:
            SourceDoubtful: bytes have come, asked for twice, that cannot be proven to be the whole content.
        """
        ask = Ask(
            self._base_url + self._resources.data(recording, result, payload),
            self._tuning.api_deadline,
            self._tuning.content_cap,
            accept=ANY_BODY | REDIRECTS,
            slowest=self._tuning.slowest,
            hashed=True,
            opaque=True,
            document=not _may_be_markup(content_type),
            budget=budget,
            spool=spool,
        )
        subject = f"content of payload {payload}"
        outcome = await self._content(ask, subject)
        for _ in range(_FRESH_URLS - 1):
            if isinstance(outcome, Reply) or outcome.failure.cause is not Cause.EXPIRED:
                break
            outcome = await self._content(ask, subject)
        if isinstance(outcome, GaveUp):
            raise self._doubtful(outcome, subject) or self._error(outcome, subject)
        return self._whole(ask, outcome, subject)

    def _doubtful(self, gave_up: GaveUp, subject: str) -> SourceDoubtful | None:
        """What is said of a content that would come no other way however often it is asked for; None for others."""
        status = gave_up.failure.status
        if gave_up.failure.cause is Cause.TOO_LARGE:
            why, data = f"{gave_up.failure.cause.value} ({gave_up.failure.detail})", None
        elif status in {204, 205}:
            why, data = "storage says that there is none", b""
        else:
            return None
        return SourceDoubtful(f"{subject}: {why}", why=why, data=data, status=status)

    async def add_on_result(self, recording: RecordingSid, result: AddOnResultSid) -> bytes | None:
        """Fetch one add-on result's JSON as received, None when Twilio has none (404, asked twice)."""
        return await self._one(self._resources.add_on_result(recording, result), f"add-on result {result}")

    async def missed_add_on_result(self, recording: RecordingSid, result: AddOnResultSid) -> bytes | None:
        """The same of one that should be there: None only when Twilio has none some time later either."""
        return await self._missed(self._resources.add_on_result(recording, result), f"add-on result {result}")

    async def missed_payload(
        self, recording: RecordingSid, result: AddOnResultSid, payload: PayloadSid
    ) -> bytes | None:
        """The same of a payload."""
        return await self._missed(self._resources.payload(recording, result, payload), f"payload {payload}")

    async def _missed(self, path: str, subject: str) -> bytes | None:
        if (found := await self._one(path, subject)) is None:
            await self._sleep(self._tuning.apart)
            found = await self._one(path, subject)
        return found

    async def _one(self, path: str, subject: str) -> bytes | None:
        try:
            return (await self._get(self._base_url + path, subject=subject)).body
        except SourceRefused as refusal:
            if refusal.status == 404:
                return None
            raise

    async def delete_add_on_result(self, recording: RecordingSid, result: AddOnResultSid) -> DeleteReply:
        """Delete an add-on result and its payloads at Twilio, for good.

        Sent once; again only after a 429, which Twilio does not process. Only a direct 204 is `DELETED`.
        Whatever leaves doubt is `UNKNOWN`, to be settled with `add_on_result`.

        Raises:
            AccountRefused: the credentials may not delete; nothing was deleted.
        """
        url = self._base_url + self._resources.add_on_result(recording, result)
        ask = Ask(url, self._tuning.api_deadline, self._tuning.page_cap, method="DELETE", accept=NO_CONTENT)
        outcome = await self._api.ask(ask)
        if isinstance(outcome, Reply):
            return DeleteReply(DeleteOutcome.DELETED, outcome.status)
        failure = outcome.failure
        if failure.cause in {Cause.UNAUTHORIZED, Cause.FORBIDDEN, Cause.STOPPED}:
            raise self._stopped(failure)
        if failure.cause is Cause.NOT_FOUND:
            return DeleteReply(DeleteOutcome.ABSENT, failure.status, failure.code, failure.request_id)
        return DeleteReply(DeleteOutcome.UNKNOWN, failure.status, failure.code, failure.request_id, failure.cause.value)

    async def account(self) -> Subaccount | None:
        """Fetch the account itself: what Twilio says the credential reaches; None when it is not told.

        A restricted or standard API key may not read accounts (401, 403, or 404), so that does not stop the client.
        """
        subject = f"account {self.account_sid}"
        outcome = await self._api.ask(
            Ask(self._base_url + self._resources.account_itself(), self._tuning.api_deadline, self._tuning.page_cap)
        )
        if isinstance(outcome, Reply):
            return read_subaccount(outcome.body, subject)
        if outcome.failure.cause in {Cause.UNAUTHORIZED, Cause.FORBIDDEN, Cause.NOT_FOUND}:
            return None
        raise self._error(outcome, subject)

    async def account_status(self, sid: AccountSid) -> str | None:
        """What Twilio says of an account: active, suspended, or closed, as which one that is gone (404) counts too.

        None when it does not say, for whatever reason; that does not stop the client.
        """
        url = self._base_url + Resources(sid).account_itself()
        outcome = await self._api.ask(Ask(url, self._tuning.api_deadline, self._tuning.page_cap))
        if isinstance(outcome, GaveUp):
            return "closed" if outcome.failure.cause is Cause.NOT_FOUND else None
        with contextlib.suppress(SourceUntrusted):
            return read_subaccount(outcome.body, f"account {sid}").status
        return None

    def source_time(self) -> datetime | None:
        """Twilio's clock (UTC) by the Date headers of its newest replies; None as long as it has not said."""
        return self._clock.now()

    async def hear_time(self) -> datetime | None:
        """Ask once, for the account itself, only to know Twilio's time; None when there is no reply that says it.

        Whatever the reply is, nothing of it counts as given: it proves nothing of what the credential may read.
        """
        if self._clock.now() is None:
            url = self._base_url + self._resources.account_itself()
            await self._api.attempt(Ask(url, _TIME_DEADLINE, self._tuning.page_cap, accept=frozenset()))
        return self._clock.now()

    async def accounts(self, *, skipped: Callable[[SourceUntrusted], None] | None = None) -> AsyncIterator[Subaccount]:
        """List the accounts the credential can see, its own included; their auth tokens are never decoded.

        Many a key may not list accounts: a refusal, which is a SourceRefused then, does not stop the client.
        With `skipped`, that is told of each row that cannot be read, and the list goes on.
        """
        listing = self._resources.accounts()
        async for items in self._pages(listing):
            for item in items:
                try:
                    account = read_subaccount(item, listing.subject)
                except SourceUntrusted as unreadable:
                    if skipped is None:
                        raise
                    skipped(unreadable)
                    continue
                yield account

    async def _pages(
        self, listing: Listing, large: asyncio.Semaphore | None = None
    ) -> AsyncIterator[tuple[bytes, ...]]:
        """The pages of a list; one larger than ordinary is asked for again when `large` has a place for the list.

        Without `large`, when no other is being read: its rows are cut to what a row may have, so what is held is small.
        """
        cap = min(_RECORDINGS_PAGE if large is None else _ORDINARY_PAGE, self._tuning.page_cap)
        page = await self._page(listing.first_uri, listing, cap)
        if page is not None and page.next_uri is None:  # nearly every list
            yield page.items
            return
        async with contextlib.aclosing(self._many_pages(listing, large, page, cap)) as pages:
            async for items in pages:
                yield items

    async def _many_pages(
        self, listing: Listing, large: asyncio.Semaphore | None, first: Page | None, cap: int
    ) -> AsyncGenerator[tuple[bytes, ...], None]:
        """The pages of a list of which the `first` is there, None where it is too large to be an ordinary one."""
        uri, page = listing.first_uri, first
        seen: set[str] = set()
        shown: set[int] = set()
        nothing_new = 0
        begun_again = False
        async with contextlib.AsyncExitStack() as place:
            for _ in range(self._tuning.most_pages):
                if uri in seen:
                    raise SourceUntrusted(f"{listing.subject}: a page names an earlier one as the next")
                try:
                    if seen or begun_again:  # else it is the first, which is there
                        page = await self._page(uri, listing, cap)
                    seen.add(uri)
                    if page is None:
                        if large is None:
                            async with self._large_page:
                                page = await self._page(uri, listing, self._tuning.page_cap)
                        else:
                            await place.enter_async_context(large)  # with nothing in hand, not even a place to ask
                            cap = self._tuning.page_cap
                            page = await self._page(uri, listing, cap)
                except SourceRefused as refusal:
                    if refusal.code != _BAD_PAGE_TOKEN or begun_again:
                        raise
                    uri, seen, begun_again = listing.first_uri, set(), True
                    shown, nothing_new = set(), 0
                    continue
                assert page is not None, "the page cap is the most"
                content = hash(page.items)
                nothing_new = nothing_new + 1 if content in shown else 0
                if nothing_new >= _SAME_PAGES:
                    raise SourceUntrusted(f"{listing.subject}: {nothing_new} pages on end that it had shown before")
                shown.add(content)
                yield page.items
                if page.next_uri is None:
                    return
                uri = page.next_uri
        raise SourceUntrusted(f"{listing.subject}: no end after {self._tuning.most_pages} pages")

    async def _page(self, uri: str, listing: Listing, cap: int) -> Page | None:
        """One page; None when it is larger than `cap`, which is less than a page may have."""
        outcome = await self._api.ask(Ask(self._base_url + uri, self._tuning.api_deadline, cap, document=True))
        if isinstance(outcome, GaveUp) and outcome.failure.cause is Cause.TOO_LARGE and cap < self._tuning.page_cap:
            return None
        reply = self._reply(outcome, listing.subject, stops=listing.stops)
        return read_page(reply.body, listing, base_url=self._base_url)

    async def _get(self, url: str, *, subject: str) -> Reply:
        ask = Ask(url, self._tuning.api_deadline, min(_ORDINARY_PAGE, self._tuning.page_cap), document=True)
        return self._reply(await self._api.ask(ask), subject)

    def _reply(self, outcome: Reply | GaveUp, subject: str, *, stops: bool = True) -> Reply:
        if isinstance(outcome, GaveUp):
            self._see_to_the_way(outcome)
            raise self._error(outcome, subject, stops=stops)
        return outcome

    def _see_to_the_way(self, gave_up: GaveUp) -> None:
        """Raise FixConfiguration if no way leads to the API as things are set here: then nothing can be had."""
        failure = gave_up.failure
        if failure.cause in BLOCKED:
            reason = f"{failure.cause.value} ({failure.detail})" if failure.detail else failure.cause.value
            raise FixConfiguration(f"{host_of(self._base_url)} cannot be asked: {reason}.")

    async def _content(self, ask: Ask, subject: str) -> Reply | GaveUp:
        """Follow where Data leads, as a rule to a signed URL; what it gives itself is the content, too.

        The credentials are sent to the API host only, for what belongs to the account, and no more once another host
        has had a say in where to look.
        """
        host, place = self._api, SignedUrl(ask.url)
        for _ in range(_MOST_PLACES):
            outcome = await host.ask(ask)
            if isinstance(outcome, GaveUp):
                if host is self._api:
                    self._see_to_the_way(outcome)
                return outcome
            target = outcome.headers.get("location") if outcome.status in REDIRECTS else None
            if target is None and (outcome.status in REDIRECTS or host is self._api):
                target = redirect_in(outcome.body, required=outcome.status in REDIRECTS, subject=subject)
            if target is None:
                return outcome
            ask.let_go(outcome)
            place = signed_url(
                target, loopback=self._loopback, subject=subject, networks=self._networks, base=place.text
            )
            ours = within(place, self._base_url, self._resources.root) if host is self._api else None
            if ours is None:
                host = self._storage
                deadline, url = self._tuning.content_deadline, place.text
            else:
                deadline, url = ask.deadline, self._base_url + ours
            ask = replace(ask, url=url, deadline=deadline, document=ask.document and host is self._api)
        raise SourceUntrusted(f"{subject}: no end of redirects after {_MOST_PLACES}")

    def _whole(self, ask: Ask, reply: Reply, subject: str) -> Content:
        """The content, or what cannot be proven to be it as an error that holds it."""
        if reply.doubt is None:
            self.traffic.contents += 1
            return Content(
                reply.body,
                reply.sha256,
                reply.headers.get("content-type"),
                reply.reserved,
                reply.file,
                reply.encoded_sha256 or None,
                ask.budget,
            )
        doubt = Failure(reply.doubt.cause, status=reply.status, detail=reply.doubt.detail)
        why = f"{doubt.cause.value} ({doubt.detail})" if doubt.detail else doubt.cause.value
        data = None
        if reply.length > KEPT_BYTES:
            why = f"{why}; its {reply.length} bytes are more than are kept so"
        else:
            data = reply.body if reply.file is None else b"".join(reply.file.chunks())
        ask.let_go(reply)
        raise SourceDoubtful(f"{subject}: {why}", why=why, data=data, status=reply.status)

    def _error(self, gave_up: GaveUp, subject: str, *, stops: bool = True) -> ExportError:
        """What a request without a reply is raised as; `stops`: a refusal of it is one of all that is the account's."""
        failure = gave_up.failure
        # a 403 may be about this one thing, unless nothing at all was ever given
        forbidden = failure.cause is Cause.FORBIDDEN and not self.traffic.bytes_received
        if stops and (forbidden or failure.cause in {Cause.UNAUTHORIZED, Cause.STOPPED}):
            return self._stopped(failure)
        if failure.cause in {Cause.FORBIDDEN, Cause.UNAUTHORIZED}:
            subject = f"{subject}, asked for as account {self.account_sid} with {self._asked_with}"
        return error_for(failure, subject, attempts=gave_up.attempts, seconds=gave_up.seconds)

    def _stopped(self, failure: Failure) -> AccountRefused:
        """The error that says that the credentials are refused; nothing more is sent."""
        self._api.stop(failure)
        facts = known_facts(failure.status, failure.code, failure.request_id)
        return AccountRefused(
            f"Twilio refused the credentials for account {self.account_sid}: {self._asked_with}{facts}"
        )


def connect(
    account_sid: AccountSid,
    credential: Credential,
    *,
    base_url: str = "https://api.twilio.com",
    max_concurrency: int = MAX_CONCURRENCY,
    tuning: Tuning = _DEFAULTS,
    networks: Sequence[IpNetwork] = (),
) -> TwilioClient:
    """Make a client that uses the network. `max_concurrency` is the ceiling; the actual number adapts.

    `networks` are where contents may be stored beside the public internet.

    Raises:
        FixConfiguration: the base URL is neither https nor on this machine.
    """
    base_url, loopback = checked_base_url(base_url)
    context = tls_context()
    return TwilioClient(
        account_sid,
        credential,
        base_url=base_url,
        api=open_transport(connections=max_concurrency, context=context),
        storage=open_transport(
            connections=max_concurrency,
            context=context,
            allowed=functools.partial(address_allowed, loopback=loopback, networks=networks),
        ),
        max_concurrency=max_concurrency,
        tuning=tuning,
        networks=networks,
    )


def _may_be_markup(content_type: str | None) -> bool:
    return "html" in (content_type or "").lower() or "xml" in (content_type or "").lower()


def _cause_of_storage_status(status: int) -> Cause:
    if status in {400, 401, 403}:
        return Cause.EXPIRED
    if 200 <= status < 300 or status == 304:
        return Cause.REFUSED  # no content
    return cause_of_status(status)
