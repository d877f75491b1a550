"""What is landed already, looked up by SID: the only memory between runs.

Reads the newest commit once; every question is answered from its Parquet files, restricted to the partitions
that can hold the answer.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from warehouse import known
from warehouse.clock import moment
from warehouse.published import views
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, RECORDINGS, UTC_TIME, Table
from warehouse.store.archive import Snapshot
from warehouse.store.commit import Commit, Files
from warehouse.store.damage import reading_errors
from warehouse.store.names import NULL_DAY
from warehouse.store.sealed import partition_day


@dataclass(frozen=True, slots=True)
class LandedResult:
    """What is landed of one add-on result.

    `deleted_at` says when we deleted it at Twilio, `gone_at` when Twilio no longer had it; `contents` of each landed
    payload whether its content is landed.
    """

    status: str | None
    date_updated: datetime | None
    exported_at: datetime | None
    payload_count: int | None
    expires_at: datetime | None
    deleted_at: datetime | None
    contents: Mapping[str, bool]
    date_created: datetime | None = None
    date_completed: datetime | None = None
    add_on_sid: str | None = None
    add_on_configuration_sid: str | None = None
    observed_at: datetime | None = None
    gone_at: datetime | None = None

    @property
    def gone(self) -> bool:
        """Whether Twilio had it no longer when it was last asked for."""
        return self.gone_at is not None and self.observed_at is not None and self.gone_at >= self.observed_at

    @property
    def deleted(self) -> bool:
        """Whether we deleted it at Twilio."""
        return self.deleted_at is not None

    @property
    def whole(self) -> bool:
        """Whether the row and every content it is known to have are landed."""
        return self.exported_at is not None and all(self.contents.values())


@dataclass(frozen=True, slots=True)
class LandedRecording:
    """What is landed of one recording: when its results were listed, and the results by SID.

    `owes` says that one of its results is not whole and can still be had, whatever its own row says.
    """

    status: str | None
    listed_at: datetime | None
    open_results: int | None
    results: Mapping[str, LandedResult]
    owes: bool = False


def landed_recordings(
    snapshot: Snapshot,
    sids: Collection[str],
    *,
    since: date | None,
    with_results: Callable[[str, LandedRecording], bool] = lambda sid, landed: True,
    owing: Collection[str] = frozenset(),
) -> Mapping[str, LandedRecording]:
    """The landed state of `sids`, with their results and payloads.

    Args:
        snapshot: where to look.
        sids: recording SIDs.
        since: the earliest UTC day one of these recordings was created, or None when not known. Rows of
            earlier partitions are not looked at.
        with_results: whether the results of a recording are wanted, given its SID and what is landed of it
            without them. Those of settled recordings are most of what is landed, and nobody looks at them.
        owing: what `owing_recordings` found.

    Raises:
        RepairWarehouse: a live file that holds one of them is missing or damaged.
    """

    def rows(table: Table, columns: str, parent: str, wanted: Iterable[str]) -> Iterator[tuple[object, ...]]:
        names = columns.split()
        for found in rows_with(snapshot, table, parent, wanted, columns=names, since=since):
            yield from zip(*(_values(found[name]) for name in names), strict=True)

    with reading_errors(snapshot.archive.root):
        known = {
            str(sid): LandedRecording(*facts, {}, sid in owing)  # type: ignore[arg-type, call-arg]  # by the schema
            for sid, *facts in rows(RECORDINGS, "sid status listed_at open_results", "sid", sids)
        }
        wanted = [sid for sid, landed in known.items() if with_results(sid, landed)]
        contents: dict[object, dict[str, bool]] = {}
        for sid, result, digest in rows(
            ADD_ON_PAYLOADS, "sid add_on_result_sid content_sha256", "reference_sid", wanted
        ):
            contents.setdefault(result, {})[str(sid)] = digest is not None
        results: dict[object, dict[str, LandedResult]] = {}
        columns = (
            "reference_sid sid status date_updated exported_at payload_count expires_at deleted_at "
            "date_created date_completed add_on_sid add_on_configuration_sid observed_at gone_at"
        )
        for recording, sid, *facts in rows(ADD_ON_RESULTS, columns, "reference_sid", wanted):
            landed = LandedResult(*facts[:6], contents.get(sid, {}), *facts[6:])  # type: ignore[arg-type, call-arg]  # as above
            results.setdefault(recording, {})[str(sid)] = landed
    for sid in map(str, results):
        bare = known[sid]
        known[sid] = replace(bare, results=results[sid])
    return known


def rows_with(
    snapshot: Snapshot,
    table: Table,
    column: str,
    values: Iterable[str],
    *,
    columns: Sequence[str] = (),
    since: date | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of a table that have one of `values` in a column: all columns of them, or at least `columns`.

    Partitions before `since` are not looked at.

    Raises:
        OSError, ArrowException: a file is missing or damaged.
    """
    names = [*dict.fromkeys([*columns, column])] if columns else ()
    archive, files = snapshot.archive, _from_day(snapshot.commit, table, since)
    wanted = pa.array(sorted(values), pa.string())
    for path in sorted(archive.keys.candidates(archive.root, files, column, wanted)):
        for batch in archive.read(files[path], table, names):
            yield batch.filter(pc.is_in(batch[column], value_set=wanted))


def owing_recordings(snapshot: Snapshot, *, now: datetime, kept: timedelta) -> frozenset[str]:
    """Recordings with a landed result that is not whole, or payload without its result, that can still be had.

    A recording's row comes after its results, so a kill can leave a result whose recording says that it owes
    nothing. Only partitions that are not older than `kept`, the source's retention, are looked at.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    since = (now - kept).astimezone(UTC).date() - timedelta(days=1)
    archive, tables = snapshot.archive, (ADD_ON_RESULTS, ADD_ON_PAYLOADS)
    with reading_errors(archive.root):
        files = known.owing(snapshot, *(_from_day(snapshot.commit, table, since).values() for table in tables))
        if not (files.results or files.payloads):
            return frozenset()
        results = snapshot.to_read(ADD_ON_RESULTS, files.results)
        payloads = snapshot.to_read(ADD_ON_PAYLOADS, files.payloads)
        with archive.database() as db:
            rows = db.execute(views.owing(results, payloads, "$now"), {"now": now}).fetchall()
        return frozenset(sid for (sid,) in rows if sid)


def _values(column: pa.Array) -> list[object]:
    """Python values; times without the detour by which Arrow makes them, which takes 20 times as long."""
    if column.type != UTC_TIME:
        return column.to_pylist()  # type: ignore[no-any-return]  # Arrow has no types
    return list(map(moment, column.cast(pa.int64()).to_pylist()))


def _from_day(commit: Commit, table: Table, since: date | None) -> Files:
    """Live files whose partition is `since` or later, or the null partition."""
    floor = "" if since is None else f"{table.partition}={since}"
    return {
        path: file
        for path, file in commit.tables[table.name].items()
        if file.folder.endswith(NULL_DAY) or file.folder >= floor
    }


def earliest_day(commit: Commit) -> date | None:
    """The earliest `completed_date` with landed results; None when there is none."""
    days = [partition_day(file) for file in commit.tables[ADD_ON_RESULTS.name].values()]
    return min((day for day in days if day is not None), default=None)
