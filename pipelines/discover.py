"""Discover: which recordings must be listed (again), earliest deadline first.

Twilio has no account-wide list of add-on results, so the way in is the list of recordings. What is landed
decides which of them still owe something: never listed, results unfinished or contents missing, or listed
before they were settled. The decisions are pure; `discover` adds the network and the warehouse read.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from pipelines.errors import AccountRefused, SourceError, SourceGarbled, SourceUnavailable, SourceUntrusted
from pipelines.normalize import Extracted, ExtractedRecording
from pipelines.records.dates import utc_day
from pipelines.records.items import kept
from pipelines.records.rows import Malformed, Recording, parse_recording
from pipelines.records.sids import AccountSid, in_lower_case
from pipelines.scope import FOREVER_AGO, Scope, earliest_first, listing_days, must_list
from pipelines.tally import Discovery
from pipelines.twilio.client import TwilioClient
from warehouse.landed import LandedRecording
from warehouse.quarantine import QuarantineRow

AHEAD = 16
"""Days listed in parallel ahead of the one being worked on; 32 cost 15 MB more with 50,000 recordings."""

PAGES_AHEAD = 1
"""Pages held of each day that is listed ahead."""

PAGES_ORDERED = 20
"""Pages of one day held at once to be ordered; of a larger day each 20 pages are ordered among themselves."""

PROOF = 10
"""Rows of other days, the same ones in the lists of two days, that prove that a server ignores the date filter.

Fewer may have strayed; and where they have not, few rows are cheap to list once for each day."""

HELD = 10_000
"""Recordings of small accounts held at once, to be worked on in the order of their deadlines; about 15 MB."""

COARSEST = 2
"""Days by which a filter by date may be off. A list that holds nothing but rows further off is of another day."""

OTHER_CASE = "It is listed a second time with its SID in another case."
"""Why a row is not landed: its SID is the same number as another one's, so there is nothing of its own behind it."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One recording to extract, with what is landed of it."""

    client: TwilioClient
    recording: Recording
    landed: LandedRecording | None


@dataclass(frozen=True, slots=True)
class Unlisted:
    """The recordings of one account and day could not be listed (to the end) now; the other days can."""

    client: TwilioClient
    day: date
    error: SourceError | AccountRefused


WithResults = Callable[[str, LandedRecording], bool]

Lookup = Callable[[Sequence[str], date | None, WithResults], Mapping[str, LandedRecording]]
"""Landed recordings by SID, given the SIDs and the earliest UTC day one of them was created; with their results
where those are wanted, given the SID and what is landed of the recording itself."""


async def discover(
    clients: Sequence[TwilioClient],
    lookup: Lookup,
    *,
    scope: Scope,
    clock: Callable[[], datetime],
    found: Discovery,
) -> AsyncGenerator[Assignment | Unlisted | Extracted, None]:
    """Yield every recording that must be listed, oldest day first, and rows that are landed even if it is not reached.

    Those rows are quarantined items, recordings found for the first time, and settled ones whose status has changed.
    Days are listed ahead in parallel, accounts take turns within a day. A day whose list cannot be had does not
    stop the others.
    """
    days = listing_days(scope, now=clock())
    small: list[Assignment] = []
    large: list[TwilioClient] = []
    if len(clients) > 1:
        async for value in _small(
            clients, lookup, scope=scope, clock=clock, days=days, found=found, small=small, large=large
        ):
            yield value
    else:  # what one account costs is nothing, and each of its days stands for itself
        large += clients
    waiting = deque(sorted(small, key=_deadline))
    async for client, day, items in _listings(large, days, found.dropped):
        while waiting and (utc_day(waiting[0].recording.date_created) or day) <= day:
            yield waiting.popleft()
        if isinstance(items, Unlisted):
            yield items
            continue
        if items is None:
            ours, others = found.lists.pop((client.account_sid, day), (0, 0))
            if others and not ours:
                subject = f"recordings of account {client.account_sid} created on {day}"
                yield Unlisted(client, day, SourceUntrusted(f"{subject}: the list of another day came in its place"))
            continue
        chunk = await asyncio.to_thread(
            _assign, client, (day, day), items, lookup, scope=scope, clock=clock, days=days, found=found
        )
        for each in chunk:
            yield each
    for assignment in waiting:
        yield assignment


async def _small(
    clients: Sequence[TwilioClient],
    lookup: Lookup,
    *,
    scope: Scope,
    clock: Callable[[], datetime],
    days: Sequence[date],
    found: Discovery,
    small: list[Assignment],
    large: list[TwilioClient],
) -> AsyncGenerator[Unlisted | Extracted, None]:
    """Fill `small` with what must be listed of the accounts that have few recordings, and `large` with the others.

    Most of many accounts are idle or nearly so: one request tells it, where a list for each day would be 42.
    """
    async for client, listed in _few(clients, days):
        if isinstance(listed, Unlisted):
            yield listed
            continue
        alone = Discovery()
        rows: list[Assignment | Extracted] = []
        if listed:
            span = days[0], days[-1]
            rows = await asyncio.to_thread(
                _assign, client, span, listed, lookup, scope=scope, clock=clock, days=days, found=alone
            )
        assigned = [value for value in rows if isinstance(value, Assignment)]
        ours, others = alone.lists.pop((client.account_sid, days[0]), (0, 0))
        if listed is None or len(small) + len(assigned) > HELD or (others and not ours):
            large.append(client)
            continue
        found.add(alone)
        small += assigned
        for value in rows:
            if not isinstance(value, Assignment):
                yield value


def _deadline(assignment: Assignment) -> tuple[datetime, str]:
    return assignment.recording.date_created or FOREVER_AGO, assignment.recording.sid


async def _few(
    clients: Sequence[TwilioClient], days: Sequence[date]
) -> AsyncIterator[tuple[TwilioClient, tuple[bytes, ...] | Unlisted | None]]:
    """The recordings of each account whose list of all days is one page, with one request.

    None for an account that has more, or whose list cannot be had as a whole: its days are listed one by one then, so
    that what is wrong with one of them costs no other. Nothing more is asked of one that is refused or silent.
    """
    ahead: deque[tuple[TwilioClient, asyncio.Task[tuple[bytes, ...] | None]]] = deque()
    rest = deque(clients)
    try:
        while rest or ahead:
            while rest and len(ahead) < AHEAD:
                client = rest.popleft()
                ahead.append((client, asyncio.create_task(client.few_recordings(days[0], days[-1]))))
            client, task = ahead.popleft()
            try:
                yield client, await task
            except AccountRefused as error:
                yield client, Unlisted(client, days[0], error)
            except SourceError as error:
                in_vain = isinstance(error, SourceUnavailable | SourceGarbled)  # each day would take as long
                silent = in_vain and not client.traffic.bytes_received
                yield client, Unlisted(client, days[0], error) if silent else None
    finally:
        for _, task in ahead:
            task.cancel()
        await asyncio.gather(*(task for _, task in ahead), return_exceptions=True)


async def _listings(
    clients: Sequence[TwilioClient], days: Sequence[date], dropped: Container[AccountSid]
) -> AsyncIterator[tuple[TwilioClient, date, list[bytes] | Unlisted | None]]:
    """The items of every listing, in pieces small enough to hold, with the day asked for; None at the end of a list.

    The oldest day is listed first and alone: a server that ignores the date filter shows it there, and is then
    listed once instead of once for each day.
    """
    filtering = []
    for client in clients:
        first_page: frozenset[str] | None = None
        whole = True
        async for pages in _pieces(client.recordings(days[0], days[0]), first=1):
            if isinstance(pages, SourceError | AccountRefused):
                whole = False
                yield client, days[0], Unlisted(client, days[0], pages)
                continue
            if first_page is None:
                first_page = _created_after(pages[0], days[0])
            yield client, days[0], [item for page in pages for item in page]
        # asked only now: a server that ignored the filter for a part of that list has not listed everything
        if not (whole and first_page and await _shown_again(client, days[-1], first_page)):
            filtering.append(client)
    ahead: _Ahead = deque()
    try:
        for day, client in itertools.product(days[1:], filtering):
            if client.account_sid in dropped:
                continue
            queue: _Queue = asyncio.Queue(PAGES_AHEAD)
            ahead.append((client, day, queue, asyncio.create_task(_pump(client.recordings(day, day), queue))))
            if len(ahead) >= AHEAD:
                async for piece in _finish(ahead):
                    yield piece
        while ahead:
            async for piece in _finish(ahead):
                yield piece
    finally:
        for *_, task in ahead:
            task.cancel()
        await asyncio.gather(*(task for *_, task in ahead), return_exceptions=True)


async def _finish(
    ahead: "_Ahead",
) -> AsyncIterator[tuple[TwilioClient, date, list[bytes] | Unlisted | None]]:
    """The items of the oldest listing under way, which is then done, and None if it was read to its end."""
    client, day, queue, _ = ahead[0]
    whole = True
    async for piece in _pieces(_drain(queue)):
        if isinstance(piece, SourceError | AccountRefused):
            whole = False
            yield client, day, Unlisted(client, day, piece)
        else:
            yield client, day, [item for page in piece for item in page]
    if whole:
        yield client, day, None
    ahead.popleft()


async def _pump(pages: AsyncIterator[tuple[bytes, ...]], queue: "_Queue") -> None:
    """Move pages into a bounded queue; the end, or the error that ended them, goes last."""
    try:
        async for page in pages:
            await queue.put(page)
    except Exception as error:  # handed to the reader of the queue, who raises it
        await queue.put(error.with_traceback(None))  # whose frames hold the page
    else:
        await queue.put(None)


async def _drain(queue: "_Queue") -> AsyncIterator[tuple[bytes, ...]]:
    while (page := await queue.get()) is not None:
        if isinstance(page, Exception):
            raise page
        yield page


_Queue = asyncio.Queue[tuple[bytes, ...] | Exception | None]
_Ahead = deque[tuple[TwilioClient, date, _Queue, asyncio.Task[None]]]


async def _pieces(
    pages: AsyncIterator[tuple[bytes, ...]], *, first: int = PAGES_ORDERED
) -> AsyncIterator[list[tuple[bytes, ...]] | SourceError | AccountRefused]:
    """Pages in pieces; of `first` pages, then twice as many, up to PAGES_ORDERED.

    The oldest day's are expired, unless it is a listing of everything: then extraction need not wait for 20 pages.
    What the source does not give ends them, as the last thing that comes: the pages before it are good.
    """
    piece: list[tuple[bytes, ...]] = []
    size = first
    failed: SourceError | AccountRefused | None = None
    try:
        async for page in pages:
            piece.append(page)
            if len(piece) >= size:
                yield piece
                piece, size = [], min(2 * size, PAGES_ORDERED)
    except (SourceError, AccountRefused) as error:
        failed = error
    if piece:
        yield piece
    if failed is not None:
        yield failed


async def _shown_again(client: TwilioClient, day: date, sids: frozenset[str]) -> bool:
    """Whether the list of `day` begins with what the list of another day has shown: neither was filtered, then.

    Most of it must be the same, against a filter that is only coarser than a day.
    """
    if len(sids) < PROOF:
        return False
    try:
        page = await anext(client.recordings(day, day), ())
    except (SourceError, AccountRefused):
        return False  # the day is listed in its turn, and what is wrong with it is said then
    again = sum(recording.sid in sids for recording in _readable(page))
    return again >= PROOF and 2 * again > len(page)


def _created_after(page: tuple[bytes, ...], day: date) -> frozenset[str]:
    """The recordings on a page that were created more than a day after the one day asked for."""
    return frozenset(
        recording.sid
        for recording in _readable(page)
        if (created := utc_day(recording.date_created)) is not None and (created - day).days > 1
    )


def _readable(page: tuple[bytes, ...]) -> Iterator[Recording]:
    for raw in page:
        with contextlib.suppress(Malformed):
            yield parse_recording(raw)


def _assign(
    client: TwilioClient,
    span: tuple[date, date],
    items: Sequence[bytes],
    lookup: Lookup,
    *,
    scope: Scope,
    clock: Callable[[], datetime],
    days: Sequence[date],
    found: Discovery,
) -> list[Assignment | Extracted]:
    """Read, filter, deduplicate and order one piece of the listing of the days of `span`, first to last.

    A recording that was in the list of another day does not stand in for the one in its own day's, should they differ.
    """
    out: list[Assignment | Extracted] = []
    recordings = []
    first, last = span
    listed = f"{first}" if first == last else f"{first} to {last}"
    ours, others = found.lists.get((client.account_sid, first), (0, 0))
    for raw in items:
        try:
            recording = parse_recording(raw)
            if (recording.account_sid or client.account_sid).lower() != client.account_sid.lower():
                raise Malformed("names another account than the one whose list it is in")  # as if unread
        except Malformed as reason:
            sentence = f"The recording {reason}, in the list of {listed}."
            beginning, sentence = kept(raw, sentence)
            out.append(QuarantineRow("recording", None, None, client.account_sid, sentence, beginning))
            continue
        if (sid := in_lower_case(recording.sid)) != recording.sid and sid in found.seen:
            out.append(QuarantineRow("recording", sid, None, client.account_sid, OTHER_CASE, raw))
            continue
        created = utc_day(recording.date_created)
        off = None if created is None else max((first - created).days, (created - last).days, 0)
        astray = off is not None and off > 1
        others += off is not None and off > COARSEST
        ours += off is not None and off <= COARSEST
        if recording.sid in found.seen and (astray or found.astray.get(recording.sid, created) == created):
            continue
        found.seen.add(recording.sid)
        if created is not None and astray:
            found.astray[recording.sid] = created
        else:
            found.astray.pop(recording.sid, None)
        if recording.sid in scope.erased:
            continue
        if scope.first is not None and created is not None and not days[0] <= created <= days[-1]:
            found.outside += 1
            continue
        found.recordings += 1
        if recording.problems:
            sentence = "; ".join(recording.problems)
            out.append(QuarantineRow("recording", recording.sid, None, client.account_sid, f"{sentence}.", raw))
        recordings.append(recording)
    found.lists[client.account_sid, first] = ours, others
    recordings = earliest_first(recordings)
    known = [created for r in recordings if (created := utc_day(r.date_created))]
    since = min(known) if len(known) == len(recordings) and known else None
    by_sid: dict[str, Recording] = {r.sid: r for r in recordings}
    now = clock()
    landed = lookup(list(by_sid), since, lambda sid, before: must_list(by_sid[sid], before, scope=scope, now=now))
    # before any is worked on: should this export not come to one, the warehouse knows that it waits
    out += (ExtractedRecording(r, client.account_sid, None, None, clock()) for r in recordings if r.sid not in landed)
    for recording in recordings:
        before = landed.get(recording.sid)
        if must_list(recording, before, scope=scope, now=now):
            out.append(Assignment(client, recording, before))
            continue
        found.settled += 1
        if before is not None and before.status != recording.status:
            out.append(ExtractedRecording(recording, client.account_sid, None, None, clock()))
    return out
