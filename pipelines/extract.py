"""Extract: one recording, from the list of its add-on results to the last content.

Results of a recording are worked on side by side, everything is handed on as soon as it is there, and in an
order in which every prefix may be landed: a content before the result that is whole with it, results before the
recording that is listed with them. What is landed already is not fetched again. A result or payload that
cannot be had is reported with its reason and does not stop the others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pipelines.discover import OTHER_CASE, Assignment
from pipelines.errors import (
    FixWarehouse,
    SourceBlocked,
    SourceDoubtful,
    SourceRefused,
    SourceUnavailable,
    SourceUntrusted,
    first_cause,
)
from pipelines.holding import Content, Holding
from pipelines.normalize import (
    Extracted,
    ExtractedAbsence,
    ExtractedPayload,
    ExtractedRecording,
    ExtractedResult,
)
from pipelines.records.dates import utc_day
from pipelines.records.items import kept
from pipelines.records.rows import AddOnResult, Malformed, Payload, parse_add_on_result, parse_payload
from pipelines.records.sids import add_on_result_sid, in_lower_case, payload_sid
from pipelines.records.sniff import error_document
from pipelines.scope import Scope, next_listed_at
from pipelines.tally import Extraction
from pipelines.twilio.client import TwilioClient
from warehouse.landed import LandedResult
from warehouse.quarantine import QuarantineRow
from warehouse.schema import KNOWN_STATUSES, UNFINISHED_STATUSES, shown_status

_T = TypeVar("_T")

_FOREVER_AGO = datetime(1970, 1, 1, tzinfo=UTC)

DOUBTFUL = "The content has come, and nothing proves that these bytes are the whole of it"
"""How the reason begins of contents in quarantine that only somebody who looks at them can land."""

GONE = "It is landed without all its contents, and Twilio no longer has it."
"""In quarantine, by earlier versions."""

NO_MORE = "It is landed without all its contents, and Twilio no longer has the rest."
"""What is said of a result that somebody deleted at Twilio, perhaps."""

Emit = Callable[[Extracted], Awaitable[None]]
Clock = Callable[[], datetime]


async def extract(
    assignment: Assignment, emit: Emit, *, scope: Scope, clock: Clock, holding: Holding, tally: Extraction
) -> None:
    """Extract one recording's results and hand them on through `emit`.

    Raises:
        SourceUnavailable, AccountRefused: nothing more of the account can be had now; what was handed on is good.
    """
    await _Extract(assignment, emit, scope=scope, clock=clock, holding=holding, tally=tally).run()


class _Extract:
    def __init__(
        self,
        assignment: Assignment,
        emit: Emit,
        *,
        scope: Scope,
        clock: Clock,
        holding: Holding,
        tally: Extraction,
    ) -> None:
        self.client: TwilioClient = assignment.client
        self.recording = assignment.recording
        self.before = assignment.landed
        self.emit, self.scope, self.clock, self.holding, self.tally = emit, scope, clock, holding, tally
        self.open = 0

    async def run(self) -> None:
        observed_at = self.clock()
        listed = True
        seen: dict[str, AddOnResult] = {}
        try:
            async for page in self.client.add_on_results(self.recording.sid):
                results = [r for raw in page if (r := await self._read_result(raw)) and await self._is_new(r, seen)]
                results = [r for r in results if not await self._is_copy(r, seen)]
                results.sort(key=_deadline)  # tasks send their requests in the order in which they are made
                # side by side, a page at a time: at most 1,000 results of one recording are under way
                await _side_by_side([self._result(result) for result in results])
        except ExceptionGroup as failures:
            raise first_cause(failures) from failures
        except (SourceRefused, SourceUntrusted, SourceUnavailable) as error:
            # a deleted recording may take its results with it; for any other, a refusal is worth a report
            gone = isinstance(error, SourceRefused) and error.status == 404 and self.recording.soft_deleted
            listed = gone
            if not gone:
                self._unanswered(error)
                self._pending(f"recording {self.recording.sid}: {error}")
        else:
            self.tally.answered(self.client.account_sid)
        if listed:
            await self._still_owed(seen)
        at = next_listed_at(self.recording, self.before, scope=self.scope, now=observed_at) if listed else None
        self.tally.recordings += 1
        open_results = self.open if listed else None
        await self.emit(ExtractedRecording(self.recording, self.client.account_sid, at, open_results, observed_at))
        if not self.recording.problems:
            self.tally.reads_whole("recording", self.recording.sid)

    async def _is_new(self, result: AddOnResult, seen: dict[str, AddOnResult]) -> bool:
        """Whether a result is listed for the first time, or again because it has changed meanwhile."""
        first = seen.setdefault(result.sid, result)
        if first is result:
            return True
        if first.date_updated is not None and result.date_updated is not None:
            if result.date_updated > first.date_updated:
                seen[result.sid] = result
                return True
            if result.date_updated < first.date_updated:
                return False
        if first.raw != result.raw:
            reason = "The add-on result is listed twice, and otherwise the first time."
            await self._quarantine("add_on_result", result.sid, self.recording.sid, reason, result.raw.encode())
        return False

    async def _is_copy(self, result: AddOnResult, seen: Collection[str]) -> bool:
        """Whether a row has the SID of another one but for the case of its letters: there is nothing behind it."""
        sid = in_lower_case(result.sid)
        if sid == result.sid or not (sid in seen or (self.before is not None and sid in self.before.results)):
            return False
        await self._quarantine("add_on_result", sid, self.recording.sid, OTHER_CASE, result.raw.encode())
        return True

    async def _still_owed(self, seen: dict[str, AddOnResult]) -> None:
        """Ask one by one for landed results that are not whole and not listed any more.

        Twilio lists may come back shorter for a while, and then the result itself is still there. One that Twilio no
        longer has (404, asked some time apart) is gone: that is landed, said once, and no reason to ask again.
        """
        now = self.clock()
        owed = [
            sid
            for sid, landed in ({} if self.before is None else self.before.results).items()
            if sid not in seen and not landed.whole and (landed.expires_at is None or landed.expires_at > now)
            if self.scope.full or not landed.gone
        ]
        try:
            await _side_by_side([self._owed(sid, seen) for sid in owed])
        except ExceptionGroup as failures:
            raise first_cause(failures) from failures

    async def _owed(self, sid: str, seen: dict[str, AddOnResult]) -> None:
        try:
            raw = await self.client.missed_add_on_result(self.recording.sid, add_on_result_sid(sid))
        except (SourceRefused, SourceUntrusted, SourceUnavailable) as error:
            self.open += 1
            self._unanswered(error)
            self._pending(f"add-on result {sid} is landed without all its contents and is not listed now: {error}")
            return
        self.tally.answered(self.client.account_sid)
        if raw is None:
            await self._gone(sid)
        elif (result := await self._read_result(raw)) is not None and await self._is_new(result, seen):
            await self._result(result)

    async def _gone(self, sid: str) -> None:
        """Nothing more of a landed result can be had. Earlier versions kept that in quarantine."""
        if self.before is None or not self.before.results[sid].gone:
            self.tally.goes(f"add-on result {sid}: {NO_MORE}")
            await self.emit(ExtractedAbsence(sid, self.clock()))
        row = QuarantineRow("add_on_result", sid, self.recording.sid, self.client.account_sid, GONE, None)
        self.tally.is_settled(row)

    async def _read_result(self, raw: bytes) -> AddOnResult | None:
        try:
            result = parse_add_on_result(raw)
            belongs(result.account_sid, self.client.account_sid)
            belongs(result.reference_sid, self.recording.sid)
        except Malformed as reason:
            self.open += 1
            await self._quarantine("add_on_result", None, self.recording.sid, f"The add-on result {reason}.", raw)
            return None
        if result.sid in self.scope.erased:
            return None
        if result.problems:
            await self._quarantine("add_on_result", result.sid, self.recording.sid, _sentence(result.problems), raw)
        return result

    async def _result(self, result: AddOnResult) -> None:
        """One add-on result with its payloads and contents."""
        self.tally.results += 1
        landed = None if self.before is None else self.before.results.get(result.sid)
        observed_at = self.clock()
        if result.status not in KNOWN_STATUSES and result.status is not None:
            self.tally.unknown_statuses[shown_status(result.status)] += 1
            self.open += result.date_completed is None  # it may be a state that still changes: come back
        elif any(problem.startswith(("date_completed ", "status ")) for problem in result.problems):
            self.open += 1  # what decides where it belongs was not to be read: come back
        if _unfinished(result):
            self.tally.unfinished += 1
            await self._hand_on(result, None, whole=False, observed_at=observed_at)
            return
        if not self.scope.includes(utc_day(result.date_completed)):
            whole = landed is not None and landed.whole
            self.tally.deferred += not whole
            await self._hand_on(result, None, whole=whole, observed_at=observed_at)
            return
        if landed is not None and landed.whole and not self._wants_again(result, landed):
            self._reads_whole(result)
            return
        payloads, all_read = await self._payloads(result, landed)
        had = await _side_by_side([self._payload(result, p, landed, observed_at) for p in payloads])
        whole = all_read and all(had)
        listed = {payload.sid for payload in payloads}
        for sid, has_content in ({} if landed is None or not all_read else landed.contents).items():
            if not has_content and sid not in listed:
                whole = await self._missed_payload(result, sid, landed, observed_at) and whole
        count = len(payloads) if all_read else None  # of the others nobody knows
        await self._hand_on(result, count, whole=whole, observed_at=observed_at)

    async def _missed_payload(
        self, result: AddOnResult, sid: str, landed: LandedResult | None, observed_at: datetime
    ) -> bool:
        """A payload that is landed without its content and not listed any more; False when it cannot be had."""
        if landed is not None and landed.gone and not self.scope.full:
            return False
        try:
            raw = await self.client.missed_payload(self.recording.sid, result.sid, payload_sid(sid))
        except (SourceRefused, SourceUntrusted, SourceUnavailable) as error:
            self._unanswered(error)
            self._pending(f"payload {sid} is landed without its content and is not listed now: {error}")
            return False
        self.tally.answered(self.client.account_sid)
        if raw is None:
            await self._gone(result.sid)
            return False
        payload = await self._read_payload(raw, result)
        return payload is not None and await self._payload(result, payload, landed, observed_at)

    def _wants_again(self, result: AddOnResult, landed: LandedResult) -> bool:
        """Whether payloads are listed again of a result that is whole here."""
        return self.scope.full or result.sid in self.tally.open_entries.results or not _unchanged(result, landed)

    def _reads_whole(self, result: AddOnResult) -> None:
        if not result.problems:
            self.tally.reads_whole("add_on_result", result.sid)

    async def _hand_on(self, result: AddOnResult, payloads: int | None, *, whole: bool, observed_at: datetime) -> None:
        self.open += not whole
        await self.emit(
            ExtractedResult(result, self.recording.sid, self.client.account_sid, payloads, whole, observed_at)
        )
        self._reads_whole(result)

    async def _payloads(self, result: AddOnResult, landed: LandedResult | None) -> tuple[list[Payload], bool]:
        """The payloads of a result, each once, and whether the list was read to its end and all of it could be."""
        found: dict[str, Payload] = {}
        known = {} if landed is None else landed.contents
        all_read = True
        try:
            async for page in self.client.payloads(self.recording.sid, result.sid):
                for raw in page:
                    if (payload := await self._read_payload(raw, result)) is None:
                        all_read = False
                        continue
                    first = found.get(payload.sid)
                    if first is not None and (payload.raw, payload.date_updated) != (first.raw, first.date_updated):
                        again = "The payload is listed twice, and otherwise the first time."
                        await self._quarantine("payload", payload.sid, result.sid, again, raw)
                    if payload.problems and first is None:
                        await self._quarantine("payload", payload.sid, result.sid, _sentence(payload.problems), raw)
                    found.setdefault(payload.sid, payload)
        except (SourceRefused, SourceUntrusted, SourceUnavailable) as error:
            deleted = result.status == "deleted" or (landed is not None and landed.deleted)
            if isinstance(error, SourceRefused) and error.status == 404 and deleted:
                return [], True
            self._unanswered(error)
            self._pending(f"add-on result {result.sid}: {error}")
            all_read = False
        for sid in [
            sid for sid in found if (lower := in_lower_case(sid)) != sid and (lower in found or lower in known)
        ]:
            copy = found.pop(sid)
            await self._quarantine("payload", in_lower_case(sid), result.sid, OTHER_CASE, copy.raw.encode())
        self.tally.payloads += len(found)
        return list(found.values()), all_read

    async def _read_payload(self, raw: bytes, result: AddOnResult) -> Payload | None:
        try:
            payload = parse_payload(raw)
            belongs(payload.account_sid, self.client.account_sid)
            belongs(payload.reference_sid, self.recording.sid)
            belongs(payload.add_on_result_sid, result.sid)
        except Malformed as reason:
            await self._quarantine("payload", None, result.sid, f"The payload {reason}.", raw)
            return None
        return payload

    async def _payload(
        self, result: AddOnResult, payload: Payload, landed: LandedResult | None, observed_at: datetime
    ) -> bool:
        """One payload and its content; False when the content could not be had."""
        content = None
        known = landed is not None and landed.contents.get(payload.sid, False)
        if not known:
            content = await self._content(result, payload)
        at = None if content is None else self.clock()
        of = self.recording.sid, self.client.account_sid
        await self.emit(ExtractedPayload(payload, result, *of, content, observed_at, at))
        had = known or content is not None
        if had:
            self.tally.reads_whole("content", payload.sid)
        if not payload.problems:
            self.tally.reads_whole("payload", payload.sid)
        return had

    async def _content(self, result: AddOnResult, payload: Payload) -> Content | None:
        try:
            content = await self._fetched(result, payload)
            document = error_document(content.data, payload.content_type, content.content_type)
            if document is not None:  # somebody on the way is out of order, perhaps for a moment
                content.release()
                content = await self._fetched(result, payload)
                document = error_document(content.data, payload.content_type, content.content_type)
        except SourceDoubtful as error:
            self.tally.answered(self.client.account_sid)
            await self._quarantine("content", payload.sid, result.sid, f"{DOUBTFUL}: {error.why}.", error.data)
            return None
        except (SourceRefused, SourceUntrusted, SourceUnavailable) as error:
            await self._content_failed(payload, result, error)
            return None
        except FixWarehouse as error:  # one content that has no end, perhaps; what is landed may still find room
            self._pending(f"content {payload.sid}: {error}")
            return None
        self.tally.answered(self.client.account_sid)
        if document is not None:
            content.release()
            reason = f"In place of the content storage gave {document}."
            await self._quarantine("content", payload.sid, result.sid, reason, content.data)
            return None
        self.tally.contents += 1
        self.tally.content_bytes += content.length
        return content

    async def _fetched(self, result: AddOnResult, payload: Payload) -> Content:
        return await self.client.content(
            self.recording.sid,
            result.sid,
            payload.sid,
            budget=self.holding,
            spool=self.holding.open,
            content_type=payload.content_type,
        )

    async def _content_failed(
        self,
        payload: Payload,
        result: AddOnResult,
        error: SourceRefused | SourceUntrusted | SourceUnavailable,
    ) -> None:
        self._unanswered(error)
        if isinstance(error, SourceRefused) and error.status in (404, 410):
            reason = f"Twilio lists the payload but answers {error.status} for its content."
            await self._quarantine("content", payload.sid, result.sid, reason, None)
        elif isinstance(error, SourceBlocked):
            self.tally.blocks(f"content {payload.sid}: {error}")
        else:
            self._pending(f"content {payload.sid}: {error}")

    def _unanswered(self, error: SourceRefused | SourceUntrusted | SourceUnavailable) -> None:
        self.tally.unanswered(self.client.account_sid, error)

    def _pending(self, reason: str) -> None:
        """Not landed now; `retention` shows it as pending and the next export tries again."""
        self.tally.waits(reason)

    async def _quarantine(self, kind: str, sid: str | None, parent: str, reason: str, raw: bytes | None) -> None:
        if kind != "content" and raw is not None:
            raw, reason = kept(raw, reason)
        row = QuarantineRow(kind, sid, parent, self.client.account_sid, reason, raw)
        self.tally.quarantines(row, f"{kind} {sid or 'under ' + parent}: {reason}")
        await self.emit(row)


async def _side_by_side(steps: Sequence[Coroutine[None, None, _T]]) -> list[_T]:
    """Run all and return what they return; one alone, the usual case, without the cost of a task.

    The first that fails ends the others; its error comes as a group.
    """
    if not steps:
        return []
    if len(steps) == 1:
        return [await steps[0]]
    # no TaskGroup: before Python 3.13 it forgets that it was cancelled when one of its tasks fails meanwhile
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failures := [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]:
        raise BaseExceptionGroup("several were worked on side by side", failures)
    return [task.result() for task in tasks]


def _deadline(result: AddOnResult) -> tuple[datetime, str]:
    """What expires first comes first; a result without any date might expire at any moment."""
    known = [at for at in (result.date_created, result.date_completed) if at is not None]
    return min(known, default=_FOREVER_AGO), result.sid


def belongs(said: str | None, asked: str) -> None:
    """Raise Malformed when a row names another parent than the one whose list was asked for: a reply gone astray."""
    if said is not None and said.lower() != asked.lower():
        raise Malformed("names another parent than the one it is listed under")


def _unfinished(result: AddOnResult) -> bool:
    """Whether the result will change by itself. A status nobody knows counts as final once it has a date."""
    if result.status in UNFINISHED_STATUSES or result.status is None:
        return result.date_completed is None
    return False


def _unchanged(result: AddOnResult, landed: LandedResult) -> bool:
    """Whether Twilio says nothing new of a result; what could not be read before and can be now is new."""
    if (result.status, result.date_updated) != (landed.status, landed.date_updated):
        return False
    return all(
        said in (None, known)
        for said, known in (
            (result.date_created, landed.date_created),
            (result.date_completed, landed.date_completed),
            (result.add_on_sid, landed.add_on_sid),
            (result.add_on_configuration_sid, landed.add_on_configuration_sid),
        )
    )


def _sentence(problems: tuple[str, ...]) -> str:
    return "; ".join(problems) + "."
