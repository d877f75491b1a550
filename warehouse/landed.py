"""What is landed already, looked up by SID: the only memory between runs.

Reads the newest commit once; every question is answered from its Parquet files, restricted to the partitions
that can hold the answer.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from warehouse.archive import NULL_DAY, Archive, partition_day
from warehouse.commits import Commit
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, RECORDINGS, Table


@dataclass(frozen=True, slots=True)
class LandedResult:
    """What is landed of one add-on result; `contents` says of each landed payload whether its content is."""

    status: str | None
    date_updated: datetime | None
    exported_at: datetime | None
    payload_count: int | None
    expires_at: datetime | None
    contents: Mapping[str, bool]

    @property
    def whole(self) -> bool:
        """Whether the row and every content it is known to have are landed."""
        return self.exported_at is not None and all(self.contents.values())


@dataclass(frozen=True, slots=True)
class LandedRecording:
    """What is landed of one recording: when its results were listed, and the results by SID."""

    status: str | None
    listed_at: datetime | None
    open_results: int | None
    results: Mapping[str, LandedResult]


def landed_recordings(
    archive: Archive, commit: Commit, sids: Collection[str], *, since: date | None
) -> Mapping[str, LandedRecording]:
    """The landed state of `sids`, with their results and payloads.

    Args:
        archive: where to look.
        commit: the state to look at.
        sids: recording SIDs.
        since: the earliest UTC day one of these recordings was created, or None when not known. Rows of
            earlier partitions are not looked at.
    """
    if not sids or not commit.rows(RECORDINGS.name):
        return {}
    with archive.database() as db:
        db.execute("CREATE TEMP TABLE wanted (sid VARCHAR)")
        db.execute("INSERT INTO wanted SELECT unnest($sids)", {"sids": list(sids)})

        def rows(table: Table, columns: str, parent: str) -> list[tuple[object, ...]]:
            relation = archive.relation(table, _from_day(commit, table, since))
            return db.execute(
                f"SELECT {columns} FROM {relation} r WHERE r.{parent} IN (SELECT sid FROM wanted)"
            ).fetchall()

        contents: dict[object, dict[str, bool]] = {}
        for sid, result, has_content in rows(
            ADD_ON_PAYLOADS, "sid, add_on_result_sid, content_sha256 IS NOT NULL", "reference_sid"
        ):
            contents.setdefault(result, {})[str(sid)] = bool(has_content)
        results: dict[object, dict[str, LandedResult]] = {}
        columns = "reference_sid, sid, status, date_updated, exported_at, payload_count, expires_at"
        for recording, sid, *facts in rows(ADD_ON_RESULTS, columns, "reference_sid"):
            landed = LandedResult(*facts, contents.get(sid, {}))  # type: ignore[arg-type, call-arg]  # typed by the SELECT
            results.setdefault(recording, {})[str(sid)] = landed
        return {
            str(sid): LandedRecording(*facts, results.get(sid, {}))  # type: ignore[arg-type, call-arg]  # as above
            for sid, *facts in rows(RECORDINGS, "sid, status, listed_at, open_results", "sid")
        }


def _from_day(commit: Commit, table: Table, since: date | None) -> list[str]:
    """Live files whose partition is `since` or later, or the null partition."""
    floor = "" if since is None else f"{table.partition}={since}"
    return [
        path
        for path, file in commit.tables[table.name].items()
        if file.folder.endswith(NULL_DAY) or file.folder >= floor
    ]


def earliest_day(commit: Commit) -> date | None:
    """The earliest `completed_date` with landed results; None when there is none."""
    days = [partition_day(file) for file in commit.tables[ADD_ON_RESULTS.name].values()]
    return min((day for day in days if day is not None), default=None)


def rows_by_day(commit: Commit, table: Table) -> Mapping[date | None, int]:
    """Landed rows of a partitioned table by partition day, from the commit alone."""
    counts: dict[date | None, int] = {}
    for file in commit.tables[table.name].values():
        day = partition_day(file)
        counts[day] = counts.get(day, 0) + file.rows
    return counts
