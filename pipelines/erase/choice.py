"""Erase: choose what is erased here, of a recording, of a result, or by age; for good, and only here.

Exporting lifts Twilio's 30 days, so how long a copy is kept is the operator's duty. What is asked for goes with all
that belongs to it, in quarantine too, and is neither asked for nor landed again. Nothing is deleted at Twilio.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import ApplyAgain
from pipelines.records.sids import AddOnResultSid, RecordingSid
from warehouse.erasures import SIDS_OF, Erased, fingerprint, read_erased, unfinished
from warehouse.landed import rows_with
from warehouse.ledger import UNSETTLED, read_ledger
from warehouse.schema import (
    ADD_ON_PAYLOADS,
    ADD_ON_RESULTS,
    CONTENTS,
    DERIVED,
    QUARANTINE,
    RECORDINGS,
    RESOLUTIONS,
    Table,
)
from warehouse.states import RECORDING_LOOK_BACK
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.commit import LiveFile
from warehouse.store.names import Destination
from warehouse.store.sealed import partition_day
from warehouse.upkeep.erase import Erasure, Selection, erase, finish

ASKED = "asked for"

STILL_LISTED = RECORDING_LOOK_BACK + timedelta(days=5)
"""How long after its day Twilio might still list something: if it is erased before, its SID is recorded."""


def erase_sids(
    archive: Archive,
    destination: Destination,
    *,
    recordings: Collection[RecordingSid] = (),
    results: Collection[AddOnResultSid] = (),
    now: datetime,
    dry_run: bool = False,
) -> Erasure | None:
    """Erase these recordings and results with all that belongs to them; None when all of it was erased before.

    Waits until nobody uses the archive. What is not landed is recorded all the same: it will not be exported.

    Raises:
        ApplyAgain: a deletion at Twilio of one of them is not settled; nothing was erased.
        RepairWarehouse: a live file is damaged; nothing was erased.
        FixWarehouse: the root cannot be written; what was begun is finished by the next export or erasure.
    """

    def choose(snapshot: Snapshot) -> Selection:
        of_recordings = _spellings(snapshot, recordings)
        found: set[str] = {*results}
        found |= _column(snapshot, ADD_ON_RESULTS, "reference_sid", of_recordings, "sid")
        found |= _column(snapshot, ADD_ON_PAYLOADS, "reference_sid", of_recordings, "add_on_result_sid")
        found = _spellings(snapshot, found)
        payloads = _column(snapshot, ADD_ON_PAYLOADS, "reference_sid", of_recordings, "sid")
        payloads |= _column(snapshot, ADD_ON_PAYLOADS, "add_on_result_sid", found, "sid")
        payloads = _spellings(snapshot, payloads)
        _nothing_unsettled(snapshot, found)
        before = read_erased(snapshot)
        by_fingerprint: dict[str, tuple[str, str]] = {}  # one SID may be landed in two spellings
        chosen = Selection()
        for table, sids in ((RECORDINGS, of_recordings), (ADD_ON_RESULTS, found), (ADD_ON_PAYLOADS, payloads)):
            chosen.add(table, snapshot.holding(table, sids))
            for sid in sids:
                if sid not in before:
                    by_fingerprint[fingerprint(sid)] = (sid, _KINDS[table.name])
        chosen.record = dict(by_fingerprint.values())
        chosen.add(CONTENTS, snapshot.holding(CONTENTS, payloads))
        _choose_derived(snapshot, payloads, chosen)
        quarantined = _quarantined(snapshot, {*of_recordings, *found, *payloads})
        chosen.add(QUARANTINE, quarantined)
        chosen.add(RESOLUTIONS, snapshot.holding(RESOLUTIONS, set().union(*quarantined.values())))
        return chosen

    return erase(archive, destination, choose, reason=ASKED, now=now, dry_run=dry_run)


def erase_older(
    archive: Archive, destination: Destination, *, days: int, now: datetime, wait: bool = False, dry_run: bool = False
) -> Erasure | None:
    """Erase what completed more than `days` UTC days ago, and recordings as old that have nothing younger.

    What has no day of completion goes by its creation, what is in quarantine by when it got there. The row of a
    recording stays as long as Twilio may list it (45 days): an add-on may still be run on it. None when there is
    nothing as old, or (unless `wait`) somebody uses the archive: the next time will do.

    Raises:
        RepairWarehouse, FixWarehouse: as `erase_sids`.
    """
    today = now.astimezone(UTC).date()
    before, listed_since = today - timedelta(days=days), today - STILL_LISTED
    if not _any_older(archive.newest(), before, recordings_before=min(before, listed_since)):
        return None

    def choose(snapshot: Snapshot) -> Selection:
        chosen = Selection()
        deleted = {entry.step.add_on_result_sid for entry in read_ledger(snapshot).entries}
        undated: dict[str, set[str]] = {}
        for table in (ADD_ON_RESULTS, ADD_ON_PAYLOADS, CONTENTS, *DERIVED, QUARANTINE):
            whole = [f for f in snapshot.files(table) if (day := partition_day(f)) is not None and day < before]
            chosen.keys[table.name] = {file.path: None for file in whole}
            if table in (ADD_ON_RESULTS, ADD_ON_PAYLOADS):
                young = [f for f in whole if deleted or (partition_day(f) or before) >= listed_since]
                chosen.record |= dict.fromkeys(_sids(archive, table, young), _KINDS[table.name])
            if table is not CONTENTS and not table.derived:
                undated[table.name] = _older_rows(snapshot, table, before)
        results, payloads = undated[ADD_ON_RESULTS.name], undated[ADD_ON_PAYLOADS.name]
        payloads |= _column(snapshot, ADD_ON_PAYLOADS, "add_on_result_sid", results, "sid")
        for table, keys in (
            (ADD_ON_RESULTS, results),
            (ADD_ON_PAYLOADS, payloads),
            (CONTENTS, payloads),
            (QUARANTINE, undated[QUARANTINE.name]),
            (RESOLUTIONS, undated[QUARANTINE.name]),
        ):
            chosen.add(table, snapshot.holding(table, keys))
            if table.name in _KINDS:
                chosen.record |= dict.fromkeys(keys, _KINDS[table.name])
        _choose_derived(snapshot, payloads, chosen)
        _choose_recordings(snapshot, min(before, listed_since), chosen)
        known = read_erased(snapshot)
        chosen.record = {sid: kind for sid, kind in chosen.record.items() if sid not in known}
        if not chosen.rows(snapshot.commit):
            chosen.record.clear()
        return chosen

    return erase(archive, destination, choose, reason=f"older than {days} days", now=now, wait=wait, dry_run=dry_run)


def finish_due(archive: Archive, destination: Destination, *, now: datetime) -> None:
    """What is due at the end of an export before anything is erased by age: finish an erasure that was cut off.

    Raises:
        ApplyAgain: somebody uses the archive, so that an erasure that was cut off is still not finished.
        RepairWarehouse, FixWarehouse: as `erase_sids`.
    """
    if unfinished(archive) and not finish(archive, destination, now=now):
        raise ApplyAgain(
            "An erasure was cut off, and what it erased may still be on the disk: it cannot be finished while somebody "
            "uses the archive. Run `addon-export erase`, or the export again."
        )


def unattributed(archive: Archive) -> int:
    """How many landed payloads do not say whose they are, since their rows were lost to damage: no SID reaches them.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    parents = ["add_on_result_sid", "reference_sid"]
    with archive.reading() as snapshot:
        batches = snapshot.read(ADD_ON_PAYLOADS, parents)
        return sum(pc.sum(pc.and_(*(pc.is_null(batch[name]) for name in parents))).as_py() or 0 for batch in batches)


_KINDS = {RECORDINGS.name: "recording", ADD_ON_RESULTS.name: "add_on_result", ADD_ON_PAYLOADS.name: "payload"}

_MADE_AT = {
    RECORDINGS.name: ("date_created", "first_seen_at"),
    ADD_ON_RESULTS.name: ("date_created", "first_seen_at"),
    ADD_ON_PAYLOADS.name: ("date_created", "observed_at"),
    QUARANTINE.name: ("quarantined_at", "quarantined_at"),
}
"""The times by which a row without a day is judged: the first of them that is known."""


def _choose_derived(snapshot: Snapshot, payloads: Collection[str], chosen: Selection) -> None:
    """Add what was derived of payloads; it lies on the days of their contents."""
    wanted = pa.array(sorted(payloads), pa.string())
    paths = [path for table in (ADD_ON_PAYLOADS, CONTENTS) for path in chosen.keys.get(table.name, {})]
    live = {file.path: file for table in (ADD_ON_PAYLOADS, CONTENTS) for file in snapshot.files(table)}
    days = {partition_day(live[path]) for path in paths}
    for table in DERIVED:
        found: dict[str, set[str]] = {}
        for file in snapshot.files(table, days):
            for batch in snapshot.archive.read(file, table, [*dict.fromkeys((table.key, "payload_sid"))]):
                rows = batch.filter(pc.is_in(batch["payload_sid"], value_set=wanted))
                if rows.num_rows:
                    found.setdefault(file.path, set()).update(rows[table.key].to_pylist())
        chosen.add(table, found)


def _spellings(snapshot: Snapshot, sids: Collection[str]) -> set[str]:
    """SIDs as given, and as they are landed, whatever the case of their digits."""
    spelt = {*sids}
    wanted, lower = {fingerprint(sid) for sid in sids}, pa.array(sorted({sid.lower() for sid in sids}), pa.string())
    for table in (RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS, CONTENTS) if sids else ():
        columns = SIDS_OF[table.name]
        for batch in snapshot.read(table, columns):
            for name in columns:
                alike = batch[name].filter(pc.is_in(pc.utf8_lower(batch[name]), value_set=lower))
                spelt.update(sid for sid in alike.to_pylist() if fingerprint(sid) in wanted)
    return spelt


def _column(snapshot: Snapshot, table: Table, column: str, values: Iterable[str], wanted: str) -> set[str]:
    """`wanted` of the rows that have one of `values` in `column`."""
    rows = rows_with(snapshot, table, column, values, columns=[wanted])
    found = {value for batch in rows for value in batch[wanted].to_pylist()}
    return found - {None}  # a payload may not say whose it is


def _sids(archive: Archive, table: Table, files: Iterable[LiveFile]) -> Iterator[str]:
    for file in files:
        for batch in archive.read(file, table, ["sid"]):
            yield from batch["sid"].to_pylist()


def _nothing_unsettled(snapshot: Snapshot, results: Collection[str]) -> None:
    """A DELETE that may still be processed must first be settled by who sent it."""
    wanted = Erased(frozenset(map(fingerprint, results)))
    for sid, entry in read_ledger(snapshot).last().items():
        if sid in wanted and entry.step.step in UNSETTLED:
            raise ApplyAgain(
                f"Add-on result {sid} cannot be erased: its deletion at Twilio is not settled. Run the `delete apply` "
                "that began it again, then erase; nothing was erased."
            )


def _quarantined(snapshot: Snapshot, sids: Collection[str]) -> dict[str, set[str]]:
    """Rows of quarantine that are about one of these, were found under it, or name it in their bytes."""
    wanted = Erased(frozenset(map(fingerprint, sids)))
    found: dict[str, set[str]] = {}
    for file in snapshot.files(QUARANTINE):
        for batch in snapshot.archive.read(file, QUARANTINE, [QUARANTINE.key, *SIDS_OF[QUARANTINE.name], "raw"]):
            columns = (batch[name].to_pylist() for name in (QUARANTINE.key, *SIDS_OF[QUARANTINE.name]))
            for key, sid, parent, raw in zip(*columns, batch["raw"], strict=True):
                if sid in wanted or parent in wanted or wanted.mentioned(raw.as_py()):
                    found.setdefault(file.path, set()).add(key)
    return found


def _any_older(snapshot: Snapshot, before: date, *, recordings_before: date) -> bool:
    """Whether a partition is as old, or something has no day."""
    limits = dict.fromkeys((ADD_ON_RESULTS, ADD_ON_PAYLOADS, CONTENTS, QUARANTINE), before)
    limits[RECORDINGS] = recordings_before
    return any(
        (partition_day(file) or date.min) < limit for table, limit in limits.items() for file in snapshot.files(table)
    )


def _older_rows(snapshot: Snapshot, table: Table, before: date) -> set[str]:
    """Keys of the rows without a partition day that were made before a day."""
    found: set[str] = set()
    for file in snapshot.files(table, {None}):
        for batch in snapshot.archive.read(file, table, list(dict.fromkeys((table.key, *_MADE_AT[table.name])))):
            at = pc.coalesce(*(batch[name] for name in _MADE_AT[table.name])).cast(pa.date32())
            found.update(batch.filter(pc.less(at, pa.scalar(before)))[table.key].to_pylist())
    return found


def _choose_recordings(snapshot: Snapshot, before: date, chosen: Selection) -> None:
    """Recordings as old that no result or payload which stays belongs to.

    Nothing bars them: what Twilio lists again all the same is landed again, and its new results with it.
    """
    files = [f for f in snapshot.files(RECORDINGS) if (partition_day(f) or before) < before]
    old = {*_sids(snapshot.archive, RECORDINGS, files), *_older_rows(snapshot, RECORDINGS, before)}
    if not old:
        return
    candidates = pa.array(sorted(old), pa.string())
    for table in (ADD_ON_RESULTS, ADD_ON_PAYLOADS):
        for file in snapshot.files(table):
            keys = chosen.keys[table.name].get(file.path, set())
            for batch in snapshot.archive.read(file, table, ["sid", "reference_sid"]) if keys is not None else ():
                part = batch.filter(pc.is_in(batch["reference_sid"], value_set=candidates))
                for sid, recording in zip(part["sid"].to_pylist(), part["reference_sid"].to_pylist(), strict=True):
                    if sid not in (keys or ()):
                        old.discard(recording)
    chosen.add(RECORDINGS, snapshot.holding(RECORDINGS, old))
