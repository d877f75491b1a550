"""What Twilio shows of single add-on results at this moment, for the gate.

Lists are read to their end before anything is said about them. Whatever could not be read whole counts as not shown,
never as empty. Only GETs are sent.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from pipelines.delete.gate import Shown
from pipelines.errors import SourceRefused, first_cause
from pipelines.records.rows import AddOnResult, Malformed, parse_add_on_result, parse_payload
from pipelines.records.sids import AddOnResultSid, RecordingSid
from pipelines.twilio.client import TwilioClient
from warehouse.landed import LandedRecording, landed_recordings
from warehouse.store.archive import Snapshot

AT_ONCE = 20
"""Lists read at once; the client sends fewer when Twilio wants fewer."""

NEAR_EXPIRY = timedelta(hours=1)
"""A result this near its deadline may be missing from a list without anything being wrong."""

Target = tuple[RecordingSid, AddOnResultSid]
"""A result and the recording it hangs on."""


async def look(
    client: TwilioClient,
    snapshot: Snapshot,
    targets: Sequence[Target],
    *,
    now: datetime,
    gone: Collection[str] = (),
) -> Mapping[str, Shown]:
    """List the results of every recording in `targets` and the payloads of every result, anew and to the end.

    Results that Twilio does not list are left out. `gone` names results that were deleted and may be missing.

    Raises:
        SourceUnavailable, SourceUntrusted, FixConfiguration: Twilio did not say.
    """
    places = asyncio.Semaphore(AT_ONCE)
    listed: dict[str, tuple[Mapping[str, AddOnResult], bool]] = {}
    payloads: dict[str, Mapping[str, datetime | None] | None] = {}

    async def list_recording(recording: RecordingSid) -> None:
        async with places:
            listed[recording] = await _results(client, recording)

    async def list_payloads(target: Target) -> None:
        async with places:
            payloads[target[1]] = await _payloads(client, *target)

    try:
        async with asyncio.TaskGroup() as group:
            for recording in dict.fromkeys(recording for recording, _ in targets):
                group.create_task(list_recording(recording))
        async with asyncio.TaskGroup() as group:
            for target in targets:
                if target[1] in listed[target[0]][0]:
                    group.create_task(list_payloads(target))
    except ExceptionGroup as failures:
        raise first_cause(failures) from failures
    landed = landed_recordings(snapshot, list(listed), since=None)
    whole = {
        recording: readable
        and recording in landed
        and _must_be_listed(landed[recording], now=now) <= results.keys() | set(gone)
        for recording, (results, readable) in listed.items()
    }
    return {
        sid: _shown(listed[recording][0][sid], payloads.get(sid), beside_all_landed=whole[recording])
        for recording, sid in targets
        if sid in listed[recording][0]
    }


async def look_again(client: TwilioClient, target: Target, before: Shown) -> Shown | None:
    """Fetch one result and list its payloads, right before it is deleted; None when Twilio does not have it."""
    result = await fetch(client, target)
    if result is None:
        return None
    payloads = await _payloads(client, *target)
    return _shown(result, payloads, beside_all_landed=before.beside_all_landed)


async def fetch(client: TwilioClient, target: Target) -> AddOnResult | None:
    """One result as Twilio shows it now; None when it has none, or only a row that says it was deleted.

    Raises:
        SourceError: Twilio did not say; also when the reply is not that result.
    """
    raw = await client.add_on_result(*target)
    if raw is None:
        return None
    try:
        result = parse_add_on_result(raw)
    except Malformed as error:
        raise SourceRefused(f"add-on result {target[1]}: the reply {error}") from error
    if result.sid != target[1]:
        raise SourceRefused(f"add-on result {target[1]}: the reply is another result")
    return None if result.status == "deleted" else result


async def _results(client: TwilioClient, recording: RecordingSid) -> tuple[Mapping[str, AddOnResult], bool]:
    """The results of a recording by SID, and whether every row could be read; none when there is no such recording."""
    found: dict[str, AddOnResult] = {}
    readable = True
    try:
        async for page in client.add_on_results(recording):
            for raw in page:
                try:
                    result = parse_add_on_result(raw)
                except Malformed:
                    readable = False
                    continue
                readable = readable and result.reference_sid in (None, recording)
                found[result.sid] = result
    except SourceRefused as refusal:
        if refusal.status != 404:
            raise
        return {}, False
    return found, readable


async def _payloads(
    client: TwilioClient, recording: RecordingSid, result: AddOnResultSid
) -> Mapping[str, datetime | None] | None:
    """`date_updated` of each payload of a result; None when the list could not be read whole."""
    found: dict[str, datetime | None] = {}
    try:
        async for page in client.payloads(recording, result):
            for raw in page:
                payload = parse_payload(raw)
                if payload.add_on_result_sid not in (None, result):
                    return None
                found[payload.sid] = payload.date_updated
    except Malformed:
        return None
    except SourceRefused as refusal:
        if refusal.status != 404:
            raise
        return None
    return found


def _must_be_listed(recording: LandedRecording, *, now: datetime) -> set[str]:
    """The landed results of a recording that Twilio must still list: not deleted, not at their deadline."""
    return {
        sid
        for sid, result in recording.results.items()
        if not result.deleted
        and result.status != "deleted"
        and (result.expires_at is None or result.expires_at > now + NEAR_EXPIRY)
    }


def _shown(result: AddOnResult, payloads: Mapping[str, datetime | None] | None, *, beside_all_landed: bool) -> Shown:
    return Shown(result.account_sid, result.status, result.date_updated, payloads, beside_all_landed)
