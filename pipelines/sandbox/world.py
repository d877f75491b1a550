"""`World`: the made-up source's data, and what it shows at a given instant.

It answers the questions the API answers (list newest first from a cursor, fetch one, delete one) as a
pure function of its rows and `now`, through indexes: no question scans rows it does not return, save those
it skips as not shown. Tests build one by hand with the `add_*` methods, change it with `put` and `lose`,
and compare with `truth`. One lock guards it, since a test changes it while the server thread reads.
No I/O, no clock, no randomness: SIDs not given are derived from the seed and a count.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from threading import RLock

from pipelines.sandbox.index import Cursor, Index
from pipelines.sandbox.values import (
    Account,
    ApiKey,
    Overrides,
    Payload,
    Recording,
    Result,
    ResultState,
    Status,
    Step,
    steps_to,
)

Row = Account | ApiKey | Recording | Result | Payload


@dataclass(frozen=True, slots=True)
class TrueResult:
    """One result as the source shows it at some instant, with all its payloads."""

    recording: Recording
    result: Result
    state: ResultState
    payloads: tuple[Payload, ...]


class World:
    """All rows of the made-up source. Hold `lock` while iterating over what it yields."""

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.lock = RLock()
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, ApiKey] = {}
        self.recordings: dict[str, Recording] = {}
        self.results: dict[str, Result] = {}
        self.payloads: dict[str, Payload] = {}
        self._account_index = Index()
        self._by_parent: defaultdict[str, Index] = defaultdict(Index)
        self._count = 0

    # -- building and changing ------------------------------------------------------------------

    def sid(self, prefix: str) -> str:
        """A fresh SID: two letters and 32 hex digits, the same for the same seed and history."""
        self._count += 1
        return prefix + sha256(f"{self.seed}:{self._count}".encode()).hexdigest()[:32]

    def put(self, row: Row) -> None:
        """Add the row, or replace the one with its SID (whose `date_created` must be the same)."""
        with self.lock:
            match row:
                case Account():
                    self.accounts[row.sid] = row
                    self._account_index.add((row.date_created, row.sid))
                case ApiKey():
                    self.keys[row.sid] = row
                case Recording():
                    self.recordings[row.sid] = row
                    self._by_parent[row.account_sid].add((row.date_created, row.sid))
                case Result():
                    self.results[row.sid] = row
                    self._by_parent[row.reference_sid].add((row.date_created, row.sid))
                case Payload():
                    self.payloads[row.sid] = row
                    self._by_parent[row.add_on_result_sid].add((row.date_created, row.sid))

    def lose(self, sid: str) -> None:
        """The source loses a recording, result or payload: as if it had never been there."""
        with self.lock:
            if sid in self.recordings:
                recording = self.recordings.pop(sid)
                self._by_parent[recording.account_sid].discard((recording.date_created, sid))
            elif sid in self.results:
                result = self.results.pop(sid)
                self._by_parent[result.reference_sid].discard((result.date_created, sid))
            else:
                payload = self.payloads.pop(sid)
                self._by_parent[payload.add_on_result_sid].discard((payload.date_created, sid))

    def add_account(
        self,
        *,
        date_created: datetime,
        owner: str | None = None,
        friendly_name: str = "Harbor Lane Furniture",
    ) -> Account:
        """A main account, or a subaccount of `owner`. SIDs and tokens are plainly not real ones."""
        number = len(self.accounts) + 1
        sid = f"AC{number:032x}"
        account = Account(
            sid=sid,
            auth_token=f"sandbox-token-{number}-opens-nothing-real",
            owner_account_sid=owner or sid,
            friendly_name=friendly_name,
            date_created=date_created,
        )
        self.put(account)
        return account

    def add_key(self, account_sid: str, *, main: bool = False, may_delete: bool = True) -> ApiKey:
        """An API key of the account; one with `may_delete=False` is a read-only export key."""
        number = len(self.keys) + 1
        secret = f"sandbox-secret-{number}-opens-nothing-real"
        key = ApiKey(sid=f"SK{number:032x}", secret=secret, account_sid=account_sid, main=main, may_delete=may_delete)
        self.put(key)
        return key

    def add_recording(
        self,
        account_sid: str,
        date_created: datetime,
        *,
        duration: timedelta = timedelta(minutes=3),
        call_sid: str | None = None,
        conference_sid: str | None = None,
        channels: int = 1,
        source: str = "OutboundAPI",
        final_status: str = "completed",
        error_code: int | None = None,
        deleted_at: datetime | None = None,
        overrides: Overrides | None = None,
    ) -> Recording:
        """A recording. `date_created`'s own UTC offset is what the wire shows."""
        recording = Recording(
            sid=self.sid("RE"),
            account_sid=account_sid,
            call_sid=call_sid or self.sid("CA"),
            date_created=date_created.replace(microsecond=0),
            conference_sid=conference_sid,
            duration=duration,
            channels=channels,
            source=source,
            final_status=final_status,
            error_code=error_code,
            deleted_at=deleted_at,
            overrides=overrides or {},
        )
        self.put(recording)
        return recording

    def add_result(
        self,
        recording: Recording,
        date_created: datetime | None = None,
        *,
        outcome: Status | None = "completed",
        takes: timedelta = timedelta(minutes=5),
        steps: tuple[Step, ...] = (),
        dated: bool = True,
        add_on: str = "made-up add-on",
        overrides: Overrides | None = None,
    ) -> Result:
        """A result that passes through every open status and reaches `outcome` after `takes` (None: never).

        `steps` says otherwise. With `dated=False` its `date_completed` stays null even when final.
        """
        start = (date_created or recording.date_created + recording.duration).replace(microsecond=0)
        steps = steps or steps_to(outcome, start=start, end=start + takes)
        result = Result(
            sid=self.sid("XR"),
            account_sid=recording.account_sid,
            reference_sid=recording.sid,
            add_on_sid=add_on_sid(add_on),
            add_on_configuration_sid=add_on_sid(add_on, "XE"),
            steps=steps,
            date_completed=steps[-1].at if outcome is not None and dated else None,
            overrides=overrides or {},
        )
        self.put(result)
        return result

    def add_payload(
        self,
        result: Result,
        content: bytes,
        *,
        content_type: str = "application/json",
        label: str = "transcript",
        date_created: datetime | None = None,
        overrides: Overrides | None = None,
    ) -> Payload:
        """A payload, there from the result's last step on, or from `date_created` (a late one)."""
        created = (date_created or result.steps[-1].at).replace(microsecond=0)
        payload = Payload(
            sid=self.sid("XH"),
            add_on_result_sid=result.sid,
            label=label,
            content_type=content_type,
            content=content,
            date_created=created,
            date_updated=created,
            overrides=overrides or {},
        )
        self.put(payload)
        return payload

    def delete(self, row: Recording | Result | Payload, now: datetime) -> None:
        """What a DELETE does: gone from `now` on, a recording softly."""
        self.put(replace(row, deleted_at=now))

    # -- what is shown at `now` -----------------------------------------------------------------

    def list_accounts(self, owner_sid: str, cursor: Cursor | None = None) -> Iterator[Account]:
        """The account and its subaccounts."""
        for sid in self._account_index.walk(cursor):
            if self.accounts[sid].owner_account_sid == owner_sid:
                yield self.accounts[sid]

    def list_recordings(
        self,
        account_sid: str,
        now: datetime,
        *,
        cursor: Cursor | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        include_soft_deleted: bool = False,
    ) -> Iterator[Recording]:
        """Recordings of one account created in [since, until)."""
        for sid in self._by_parent[account_sid].walk(cursor, since=since, until=until):
            recording = self.recordings[sid]
            if recording.shown(now, include_soft_deleted=include_soft_deleted):
                yield recording

    def list_results(self, recording_sid: str, now: datetime, *, cursor: Cursor | None = None) -> Iterator[Result]:
        """Results of one recording."""
        for sid in self._by_parent[recording_sid].walk(cursor):
            result = self.results[sid]
            if result.shown(now):
                yield result

    def list_payloads(self, result_sid: str, now: datetime, *, cursor: Cursor | None = None) -> Iterator[Payload]:
        """Payloads of one result; none once the result has status deleted."""
        if self.results[result_sid].at(now).status == "deleted":
            return
        for sid in self._by_parent[result_sid].walk(cursor):
            payload = self.payloads[sid]
            if payload.shown(now):
                yield payload

    def find_recording(
        self, account_sid: str, sid: str, now: datetime, *, include_soft_deleted: bool
    ) -> Recording | None:
        """The recording, if this account has it and shows it."""
        row = self.recordings.get(sid)
        if row is None or row.account_sid != account_sid:
            return None
        return row if row.shown(now, include_soft_deleted=include_soft_deleted) else None

    def find_result(self, recording_sid: str, sid: str, now: datetime) -> Result | None:
        """The result, if this recording has it and shows it."""
        row = self.results.get(sid)
        return row if row is not None and row.reference_sid == recording_sid and row.shown(now) else None

    def find_payload(self, result_sid: str, sid: str, now: datetime) -> Payload | None:
        """The payload, if this result has it and shows it."""
        row = self.payloads.get(sid)
        if row is None or row.add_on_result_sid != result_sid or not row.shown(now):
            return None
        return None if self.results[result_sid].at(now).status == "deleted" else row

    def truth(self, now: datetime, *, account_sid: str | None = None) -> Iterator[TrueResult]:
        """Every result that can be retrieved at `now`, of one account or all; also of deleted recordings."""
        with self.lock:
            for owner in [account_sid] if account_sid else list(self.accounts):
                for recording in self.list_recordings(owner, now, include_soft_deleted=True):
                    for result in self.list_results(recording.sid, now):
                        payloads = tuple(self.list_payloads(result.sid, now))
                        yield TrueResult(recording, result, result.at(now), payloads)


def add_on_sid(name: str, kind: str = "XB") -> str:
    """The SID of the made-up add-on of that name, or with "XE" of its installation."""
    return kind + sha256(name.encode()).hexdigest()[:32]
