"""Derive again: rows that other shapes made are made anew by those in use, and rows that are not there at all.

A day is one commit, so a reader sees either the old rows of a day or the new ones, and a pass that is interrupted
goes on with the days that are left. No more is held than a slice of the contents of one day.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.derived import PAYLOAD, derived, payloads_sql, reader_of, without
from warehouse.errors import CommitRace, RepairWarehouse
from warehouse.land import new_load_id
from warehouse.schema import (
    ADD_ON_PAYLOADS,
    ANALYSES,
    CONTENTS,
    DERIVED,
    LOADS,
    RECORDINGS,
    TRANSCRIPTS,
    Table,
    quote,
)
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.damage import reading_errors
from warehouse.store.footers import refuse_newer
from warehouse.store.lock import shared
from warehouse.store.marker import kept_setting, update_marker
from warehouse.store.sealed import partition_day
from warehouse.transcripts.derive import FAILED, Reader, derive
from warehouse.transcripts.engine import PAYLOADS
from warehouse.transcripts.texts import in_file, sliced

SETTING = "derived"
"""In the marker: what the shapes were by which every row has been made."""

_FAILED = FAILED.partition("{")[0]

TRIES = 50
"""Commit races lost in a row before a day is given up."""

Progress = Callable[[int, int], None]
"""Is told how many days are done, and of how many."""


def derive_again(
    archive: Archive,
    *,
    now: datetime,
    run_id: str,
    thorough: bool = False,
    progress: Progress = lambda done, of: None,
) -> int:
    """Derive what does not follow from the shapes in use; returns of how many payloads.

    With `thorough` every day is looked at, and what a shape failed to read is tried again; without, nothing is read
    where all of it was made by these shapes the last time.

    Raises:
        UpdateProgram: a newer version wrote what is here; nothing is changed.
        RepairWarehouse: a file that is needed is damaged; the days before are done. Unless `thorough`, that day is left
            out, and looked at again the next time.
        CommitRace: other processes committed first, again and again.
    """
    reader = reader_of(archive)
    if not thorough and kept_setting(archive.root, SETTING) == reader.mark:
        return 0
    days = sorted({partition_day(file) for file in archive.newest().files(CONTENTS)}, key=lambda day: day or date.max)
    count, whole = 0, bool(days)
    for done, day in enumerate(reversed(days)):
        progress(done, len(days))
        for left in reversed(range(TRIES)):
            try:
                count += _derive_day(archive, day, reader, now=now, run_id=run_id, thorough=thorough)
                break
            except CommitRace:
                if not left:
                    raise
            except RepairWarehouse:  # told by whoever reads back what was landed; derived once that is repaired
                if thorough:
                    raise
                whole = False
                break
    progress(len(days), len(days))
    if whole:
        update_marker(archive, lambda found: found.with_setting(SETTING, reader.mark))
    return count


def _derive_day(
    archive: Archive, day: date | None, reader: Reader, *, now: datetime, run_id: str, thorough: bool
) -> int:
    """Bring the derived rows of one day up to the shapes in use, in one commit; returns how many payloads differed."""
    with shared(archive.root), reading_errors(archive.root), archive.undone(), archive.database() as db:
        head = archive.head_to_change()
        snapshot = Snapshot(archive, head)
        found = _judged(snapshot, db, day, reader)
        stale = found.stale | found.failed if thorough else found.stale
        if not stale:
            return 0
        load_id = new_load_id(now)
        refuse_newer(archive.root, (file for table in DERIVED for file in snapshot.files(table, {day})))
        old = without(snapshot, stale, {day})
        new = derived(archive, *_read(snapshot, db, day, stale), reader, load_id=load_id)
        row = {"load_id": load_id, "run_id": run_id, "loaded_at": now}
        load = archive.seal(LOADS, None, pa.Table.from_pylist([row], schema=LOADS.schema).to_batches())
        archive.commit(head, drop=old.drop, add=[*old.add, *new.add, load], at=now, run_id=run_id)
    return len(stale)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Payloads of a day: those whose content is text, those whose rows are wrong, and those a shape failed to read.

    `stale` are rows that other shapes made, or nobody, or whose content is gone.
    """

    texts: set[str]
    stale: set[str]
    failed: set[str]


def _judged(snapshot: Snapshot, db: duckdb.DuckDBPyConnection, day: date | None, reader: Reader) -> _Judged:
    contents, payloads = snapshot.relations(CONTENTS, ADD_ON_PAYLOADS, days={day})
    transcripts, analyses = snapshot.relations(TRANSCRIPTS, ANALYSES, days={day})
    current = ", ".join(map(quote, reader.hashes))
    rows = db.execute(
        f"""
        WITH texts AS (
            SELECT payload_sid FROM {contents} c SEMI JOIN {payloads} p ON p.sid = c.payload_sid
            WHERE (is_text OR text IS NOT NULL) AND coalesce(chunk, 0) = 0
        ), made AS (
            SELECT payload_sid, shape_hash IN ({current}) AS is_current, false AS failed FROM {transcripts} UNION ALL
            SELECT payload_sid, shape_hash IN ({current}), starts_with(problem, {quote(_FAILED)}) FROM {analyses}
        )
        SELECT coalesce(t.payload_sid, m.payload_sid), t.payload_sid IS NOT NULL,
            t.payload_sid IS NULL OR m.payload_sid IS NULL OR m.is_current IS NOT true, coalesce(m.failed, false)
        FROM texts t FULL JOIN made m USING (payload_sid)
        """
    ).fetchall()
    texts, stale, failed = ({sid for sid, *are in rows if are[kind]} for kind in range(3))
    return _Judged(texts, stale, failed)


def _read(
    snapshot: Snapshot, db: duckdb.DuckDBPyConnection, day: date | None, sids: Collection[str]
) -> tuple[Iterator[pa.Table], pa.Table]:
    """The landed texts of payloads of a day (TEXTS), and what these and their recordings say (PAYLOADS)."""
    wanted = pa.array(sorted(sids), pa.string())
    archive = snapshot.archive
    texts = (some for file in snapshot.files(CONTENTS, {day}) for some in in_file(archive, file, wanted))
    db.register("wanted", pa.table({"sid": wanted}))
    payloads = f"(SELECT * FROM {snapshot.relation(ADD_ON_PAYLOADS, {day})} SEMI JOIN wanted USING (sid))"
    referred = db.sql(f"SELECT DISTINCT reference_sid FROM {payloads} WHERE reference_sid IS NOT NULL")
    recordings = referred.to_arrow_table()["reference_sid"].to_pylist()
    called = archive.relation(RECORDINGS, snapshot.holding(RECORDINGS, recordings))
    return texts, db.sql(payloads_sql(payloads, called)).to_arrow_table().cast(PAYLOADS)


def underived(
    snapshot: Snapshot, db: duckdb.DuckDBPyConnection, day: date | None, reader: Reader, *, whole: bool
) -> Iterator[tuple[Table, str]]:
    """Rows of a day, by table and key, that do not follow from its contents; one database serves day after day.

    Where not all was derived by these shapes (`whole` is false), rows of others, and missing ones, are left out.

    Raises:
        OSError, ArrowException, duckdb.Error: a file is missing or damaged; see `reading_errors`.
    """
    found = _judged(snapshot, db, day, reader)
    other = found.stale | found.failed  # what took too long once need not do so again
    for table in DERIVED:
        db.execute(f"CREATE OR REPLACE TEMP TABLE {table.name} (key VARCHAR, digest UBIGINT)")
    texts, facts = _read(snapshot, db, day, found.texts - other)
    for some in sliced(texts):
        made = derive(some, facts, reader, load_id="")
        failed = pc.starts_with(made[ANALYSES.name]["problem"], _FAILED)
        other.update(made[ANALYSES.name].filter(pc.fill_null(failed, fill_value=False))[PAYLOAD].to_pylist())
        for table in DERIVED:
            db.register("made", made[table.name])
            db.execute(f"INSERT INTO {table.name} SELECT {_digest(table)} FROM made")
            db.unregister("made")
    db.register("other", pa.table({PAYLOAD: pa.array(sorted(other), pa.string())}))
    for table in DERIVED:
        landed = f"SELECT {_digest(table)} FROM {snapshot.relation(table, {day})} ANTI JOIN other USING ({PAYLOAD})"
        rows = db.execute(
            f"SELECT coalesce(m.key, l.key) FROM {table.name} m FULL JOIN ({landed}) l USING (key) WHERE "
            f"m.digest IS DISTINCT FROM l.digest AND coalesce(m.key, l.key) NOT IN (SELECT {PAYLOAD} FROM other) "
            "ORDER BY ALL"
        ).fetchall()
        yield from ((table, key) for (key,) in rows)
    if whole:
        yield from ((TRANSCRIPTS, sid) for sid in sorted(found.stale))


def _digest(table: Table) -> str:
    """SQL for the key of a row, and a hash of all that follows from its content."""
    columns = ", ".join(name for name in table.names if name not in ("load_id", table.partition))
    return f"{table.key} AS key, hash({columns}) AS digest"
