"""Land: merge a batch of rows into the archive as one commit.

Promises: a row or content that is landed is never removed or blanked, whatever the batch holds; what was erased
does not come back; a row is applied only if it says something new; two processes landing at once both succeed; a
kill at any point leaves the state before or after, never between. Costs grow with the batch and the files it touches,
plus one read of the key columns.
"""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.contents import PayloadFacts, SpooledContent, moved, seal_spooled, settle, settle_spooled
from warehouse.derived import DERIVED_FROM, derived, payloads_sql, reader_of, without
from warehouse.erasures import SIDS_OF, Erased, read_erased
from warehouse.errors import CommitRace, RepairWarehouse
from warehouse.merge import fold_sql, merge_sql
from warehouse.quarantine import QuarantineRow, quarantine_rows
from warehouse.schema import (
    ADD_ON_PAYLOADS,
    ADD_ON_RESULTS,
    CONTENTS,
    DELETIONS,
    DERIVED,
    ERASURES,
    LISTINGS,
    LOADS,
    QUARANTINE,
    RECORDINGS,
    RESOLUTIONS,
    TABLES,
    Table,
)
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.commits import FOLDER
from warehouse.store.damage import reading_errors
from warehouse.store.files import sync_folder
from warehouse.store.footers import refuse_newer
from warehouse.store.lock import shared
from warehouse.store.sealed import by_day, partition_day
from warehouse.transcripts.engine import PAYLOADS, TEXTS
from warehouse.transcripts.texts import in_file, of_rows, of_spooled

ATTEMPTS = 50
"""Commit races lost in a row before giving up; each loss means that another process succeeded."""

SMALL_FILES = 4
"""Small files of one day that the next landing into it joins: few files to look through, few bytes written again."""

SMALL_BYTES = 1 << 20
"""Files from this size on are not rewritten just to be joined, except at the end of an export."""

Batch = Mapping[str, pa.Table]
"""Rows by table name, in the schemas of `warehouse.schema`; tables may be missing."""

Build = Callable[[Commit], Batch]
"""Makes the batch for the commit it is merged onto, anew whenever another process has committed first."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one landing did. `load_id` is None when there was nothing new."""

    load_id: str | None
    commit: int
    added: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    content_bytes: int = 0


@dataclass(slots=True)
class _Change:
    """Files to add and to drop for one table, and what that means."""

    add: list[LiveFile] = field(default_factory=list)
    drop: list[LiveFile] = field(default_factory=list)
    added: int = 0
    changed: int = 0
    content_bytes: int = 0


def land(
    archive: Archive, batch: Batch | Build, *, run_id: str, now: datetime, spooled: Sequence[SpooledContent] = ()
) -> Load:
    """Land `batch` and return what changed; on return everything in it is durable.

    Args:
        archive: where to.
        batch: the rows, or what makes them; what that raises is raised, and nothing is landed.
        run_id: kept in `loads`.
        now: time of landing (UTC).
        spooled: contents that are too large to be rows of the batch; landed by the same rules and commit.

    Raises:
        UpdateProgram: a newer version wrote what is here; nothing is landed.
        FixWarehouse: the root cannot be written; nothing of the batch is landed.
        RepairWarehouse: a live file or a spooled content is damaged, or a row would be lost; nothing is landed.
        CommitRace: other processes committed first 50 times in a row.
    """
    load_id = new_load_id(now)
    for _ in range(ATTEMPTS):
        try:
            with shared(archive.root), reading_errors(archive.root), archive.undone():
                head = archive.head_to_change()
                rows, spooled = without_erased(
                    read_erased(Snapshot(archive, head)), batch(head) if callable(batch) else batch, spooled
                )
                return _Landing(archive, head, load_id=load_id, run_id=run_id, now=now).land(rows, spooled)
        except CommitRace:
            continue
    raise CommitRace(f"Other processes committed to {archive.root} first {ATTEMPTS} times in a row; run again.")


def new_load_id(now: datetime) -> str:
    """An id for a load that lands now (UTC)."""
    return f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


class _Landing:
    """One attempt to land a batch on top of one commit."""

    def __init__(self, archive: Archive, head: Commit, *, load_id: str, run_id: str, now: datetime) -> None:
        self.archive, self.head, self.load_id, self.run_id, self.now = archive, head, load_id, run_id, now

    def land(self, batch: Batch, spooled: Sequence[SpooledContent]) -> Load:
        if unknown := batch.keys() - (TABLES.keys() - {ERASURES.name, *(table.name for table in DERIVED)}):
            raise ValueError(f"no such table: {', '.join(sorted(unknown))}")
        changes: dict[str, _Change] = {}
        with self.archive.database() as db:
            changes[RECORDINGS.name] = self._merge(db, RECORDINGS, batch.get(RECORDINGS.name, RECORDINGS.empty()))
            changes[ADD_ON_RESULTS.name] = self._merge(
                db, ADD_ON_RESULTS, batch.get(ADD_ON_RESULTS.name, ADD_ON_RESULTS.empty())
            )
            payloads = self._payloads_of_moved_results(db, batch.get(ADD_ON_PAYLOADS.name, ADD_ON_PAYLOADS.empty()))
            changes[ADD_ON_PAYLOADS.name] = self._merge(db, ADD_ON_PAYLOADS, self._on_their_results_day(db, payloads))
            contents, large, differing = self._new_contents(db, batch.get(CONTENTS.name, CONTENTS.empty()), spooled)
            changes[CONTENTS.name] = self._add_contents(contents, large)
            self._move_contents(db, changes[CONTENTS.name])
            changes |= self._derive(db, contents, large)
            given = batch.get(QUARANTINE.name, QUARANTINE.empty())
            changes[QUARANTINE.name] = self._append(
                QUARANTINE, pa.concat_tables([given, quarantine_rows(differing, now=self.now)])
            )
            for table in (LOADS, DELETIONS, LISTINGS, RESOLUTIONS):
                changes[table.name] = self._append(table, batch.get(table.name, table.empty()))
            if not any(change.add for change in changes.values()):
                if self.head.number:
                    # whoever made the newest commit may not have got so far; saying "landed" rests on it
                    sync_folder(self.archive.root / FOLDER)
                return Load(None, self.head.number)
            row = self._append(LOADS, self._load_row(changes))
            changes[LOADS.name].add += row.add
            changes[LOADS.name].added += row.added
        commit = self.archive.commit(
            self.head,
            drop=[file for change in changes.values() for file in change.drop],
            add=[file for change in changes.values() for file in change.add],
            at=self.now,
            run_id=self.run_id,
        )
        return Load(
            self.load_id,
            commit.number,
            {name: change.added for name, change in changes.items()},
            {name: change.changed for name, change in changes.items()},
            changes[CONTENTS.name].content_bytes,
        )

    # -- tables whose rows change ---------------------------------------------------------------------

    def _merge(self, db: duckdb.DuckDBPyConnection, table: Table, source: pa.Table) -> _Change:
        """Merge observed rows; leaves `<table>_merged` (rows to write) for the steps that follow."""
        live, key, part = self.head.tables[table.name], table.key, table.partition
        merged, old = f"{table.name}_merged", f"{table.name}_old"
        db.register("source", source)
        if not source.num_rows:
            extra = f", NULL::BOOLEAN AS is_new, NULL::VARCHAR AS old_file, {part} AS old_day"
            for suffix, columns in (("seen", ""), ("old", ", NULL::VARCHAR AS filename"), ("merged", extra)):
                db.execute(f"CREATE TEMP TABLE {table.name}_{suffix} AS SELECT *{columns} FROM source")
            db.unregister("source")
            return _Change()
        keys = pc.unique(source[key].combine_chunks())
        if len(keys) == source.num_rows:
            db.execute(f"CREATE TEMP TABLE {table.name}_seen AS SELECT * FROM source")
        else:
            folded = ", ".join(f"{fold_sql(table, column)} AS {column.name}" for column in table.columns)
            db.execute(f"CREATE TEMP TABLE {table.name}_seen AS SELECT {folded} FROM source GROUP BY {key}")
        hits = self._landed_keys(table, keys)
        refuse_newer(self.archive.root, (live[path] for path in hits))
        for path in hits:
            # before DuckDB, which skips rows by statistics that nothing protects, reads it
            self.archive.sound(live[path])
        db.execute(
            f"CREATE TEMP TABLE {old} AS SELECT * FROM {self.archive.relation(table, hits, filename=True)} "
            f"SEMI JOIN {table.name}_seen USING ({key})"
        )
        values = {column.name: merge_sql(table, column, self.load_id) for column in table.columns}
        selected = ", ".join(f"{value} AS {name}" for name, value in values.items())
        differs = " OR ".join(
            f"({values[c.name]}) IS DISTINCT FROM o.{c.name}" for c in table.columns if c.is_change and c.name != key
        )
        db.execute(
            f"CREATE TEMP TABLE {merged} AS SELECT {selected}, o.{key} IS NULL AS is_new, o.filename AS old_file, "
            f"o.{part} AS old_day FROM {table.name}_seen s LEFT JOIN {old} o ON s.{key} = o.{key} "
            f"WHERE o.{key} IS NULL OR {differs}",
            {"now": self.now},
        )
        db.unregister("source")
        change = _Change()
        change.added, change.changed = db.execute(
            f"SELECT count(*) FILTER (is_new), count(*) FILTER (NOT is_new) FROM {merged}"
        ).fetchall()[0]
        dropped = {row[0] for row in db.execute(f"SELECT DISTINCT old_file FROM {merged}").fetchall() if row[0]}
        change.drop = [live[self._relative(path)] for path in sorted(dropped)]
        change.drop += self._small_neighbours(db, table, change.drop)
        self._write_days(db, table, change)
        self._nothing_vanished(table, change)
        return change

    def _small_neighbours(self, db: duckdb.DuckDBPyConnection, table: Table, dropped: list[LiveFile]) -> list[LiveFile]:
        """Files to join with what is written now: all small ones of a touched day once there are several."""
        days = {row[0] for row in db.execute(f"SELECT DISTINCT {table.partition} FROM {table.name}_merged").fetchall()}
        folders: dict[str, list[LiveFile]] = {}
        for file in self.head.tables[table.name].values():
            if file.bytes < SMALL_BYTES and file not in dropped and partition_day(file) in days:
                folders.setdefault(file.folder, []).append(file)
        small = [file for files in folders.values() if len(files) >= SMALL_FILES for file in files]
        refuse_newer(self.archive.root, small)
        return [self.archive.sound(file) for file in small]

    def _write_days(self, db: duckdb.DuckDBPyConnection, table: Table, change: _Change) -> None:
        """One new file for each touched day: its merged rows plus the untouched rows of files being replaced."""
        key, part, merged = table.key, table.partition, f"{table.name}_merged"
        columns = ", ".join(table.names)
        replaced: dict[date | None, list[str]] = {}
        for file in change.drop:
            replaced.setdefault(partition_day(file), []).append(file.path)
        fresh = db.sql(f"SELECT {columns} FROM {merged} ORDER BY {key}").to_arrow_table().cast(table.schema)
        for day, rows in by_day(table, fresh).items():
            if day not in replaced:
                change.add.append(self.archive.seal(table, day, rows.to_batches()))
        for day, files in replaced.items():
            rows = db.sql(
                f"SELECT {columns} FROM (SELECT {columns} FROM {merged} WHERE {part} IS NOT DISTINCT FROM $day "
                f"UNION ALL SELECT {columns} FROM {self.archive.relation(table, files)} old "
                f"ANTI JOIN {merged} m USING ({key})) ORDER BY {key}",
                params={"day": day},
            ).to_arrow_table()
            if rows.num_rows:
                change.add.append(self.archive.seal(table, day, rows.cast(table.schema).to_batches()))

    def _payloads_of_moved_results(self, db: duckdb.DuckDBPyConnection, source: pa.Table) -> pa.Table:
        """Rows of `source`, plus the landed payloads of results whose day has just become known or changed."""
        moved = f"SELECT sid, completed_date FROM {ADD_ON_RESULTS.name}_merged WHERE NOT is_new " + (
            "AND completed_date IS DISTINCT FROM old_day"
        )
        sids = pa.array([sid for sid, _ in db.execute(moved).fetchall()], pa.string())
        files = self._landed_keys(ADD_ON_PAYLOADS, sids, "add_on_result_sid")
        if not files:
            return source
        db.register("given", source)
        rows = db.sql(
            "SELECT p.* REPLACE (m.completed_date AS completed_date, $now AS observed_at) "
            f"FROM {self.archive.relation(ADD_ON_PAYLOADS, files)} p "
            f"JOIN ({moved}) m ON p.add_on_result_sid = m.sid WHERE p.sid NOT IN (SELECT sid FROM given)",
            params={"now": self.now},
        ).to_arrow_table()
        db.unregister("given")
        return pa.concat_tables([source, rows.cast(ADD_ON_PAYLOADS.schema)])

    # -- tables whose rows are only added -------------------------------------------------------------

    def _append(self, table: Table, source: pa.Table) -> _Change:
        """Add the rows whose key is not landed; the first of equal keys in `source` wins."""
        if not source.num_rows:
            return _Change()
        known = set[str]().union(*self._landed_keys(table, source[table.key].combine_chunks()).values())
        return self._seal(table, _unknown(table, source, known))

    def _seal(self, table: Table, rows: pa.Table) -> _Change:
        change = _Change(added=rows.num_rows)
        for day, part in by_day(table, rows).items():
            # sorted, a row is found by its key without reading the others
            ordered = part.sort_by(table.key) if table.partition else part
            change.add.append(self.archive.seal(table, day, ordered.to_batches(max_chunksize=256)))
        self._nothing_vanished(table, change)
        return change

    def _new_contents(
        self, db: duckdb.DuckDBPyConnection, contents: pa.Table, spooled: Sequence[SpooledContent]
    ) -> tuple[pa.Table, list[SpooledContent], list[QuarantineRow]]:
        """The contents that are not landed, each once; also those that differ from what is, for quarantine.

        The first content of a payload stays; another one under the same SID, landed before or in the same batch,
        is kept in quarantine.
        """
        if not contents.num_rows and not spooled:
            return contents, [], []
        payloads = self._payload_facts(db)
        contents, differing = settle(contents, payloads)
        large, differing_too = settle_spooled(spooled, payloads)
        known = self._landed_contents(db, [*contents["payload_sid"].to_pylist(), *(c.payload_sid for c in large)])
        contents = _unknown(CONTENTS, contents, known)
        new = {content.payload_sid: content for content in reversed(large) if content.payload_sid not in known}
        return contents, [*new.values()], differing + differing_too

    def _add_contents(self, contents: pa.Table, large: Sequence[SpooledContent]) -> _Change:
        change = self._seal(CONTENTS, contents)
        change.content_bytes = pc.sum(pc.binary_length(contents["content"])).as_py() or 0
        for content in large:
            change.add.append(seal_spooled(self.archive, content))
            change.added += 1
            change.content_bytes += content.length
        return change

    def _move_contents(self, db: duckdb.DuckDBPyConnection, change: _Change) -> None:
        """Rewrite landed contents whose payload has just moved to another day."""
        rows = db.execute(
            f"SELECT sid, completed_date FROM {ADD_ON_PAYLOADS.name}_merged "
            "WHERE NOT is_new AND completed_date IS DISTINCT FROM old_day"
        ).fetchall()
        days: dict[str, date | None] = dict(rows)
        if not days:
            return
        live = self.head.tables[CONTENTS.name]
        for path in self._landed_keys(CONTENTS, pa.array(list(days), pa.string())):
            change.add += moved(self.archive, live[path], days)
            change.drop.append(live[path])
        self._nothing_vanished(CONTENTS, change)

    # -- tables that follow from contents -------------------------------------------------------------

    def _derive(
        self, db: duckdb.DuckDBPyConnection, contents: pa.Table, large: Sequence[SpooledContent]
    ) -> dict[str, _Change]:
        """The rows that follow from new contents, and anew from landed ones whose payload says something else now."""
        new = dict(zip(contents["payload_sid"].to_pylist(), contents["completed_date"].to_pylist(), strict=True))
        new |= {content.payload_sid: content.completed_date for content in large}
        again = self._differently_derived(db, new)
        if not new and not again:
            return {}
        texts = chain([of_rows(contents)], map(of_spooled, large), self._landed_texts(again))
        alone = new.keys() - self._payloads_given(db)
        payloads = self._payloads_to_derive(db, alone)
        made = derived(self.archive, texts, payloads, reader_of(self.archive), load_id=self.load_id)
        stale = self._derived_before(db, new, alone) | {sid: before for sid, (before, _) in again.items()}
        old = without(Snapshot(self.archive, self.head), stale, {*stale.values()})
        changes = {table.name: _Change(added=made.made.get(table.name, 0)) for table in DERIVED}
        for file in (*made.add, *old.add):
            changes[file.table].add.append(file)
        for file in old.drop:
            changes[file.table].drop.append(file)
        return changes

    def _derived_before(
        self, db: duckdb.DuckDBPyConnection, new: Mapping[str, date | None], alone: Collection[str]
    ) -> dict[str, date | None]:
        """New contents that there may be rows of already, by the day of these: a content that was lost has left some.

        Those whose payload is new have none; of those that came `alone`, without their payload, that is not known.
        """
        old = db.execute(f"SELECT sid, completed_date FROM {ADD_ON_PAYLOADS.name}_old").fetchall()
        landed: dict[str, date | None] = dict(old)
        return {sid: landed.get(sid, day) for sid, day in new.items() if sid in landed or sid in alone}

    def _differently_derived(
        self, db: duckdb.DuckDBPyConnection, new: Collection[str]
    ) -> dict[str, tuple[date | None, date | None]]:
        """Landed payloads whose row, or recording, says something else now: the days they were on and are on."""
        name = ADD_ON_PAYLOADS.name
        differs = " OR ".join(f"m.{c} IS DISTINCT FROM o.{c}" for c in (ADD_ON_PAYLOADS.partition, *DERIVED_FROM))
        rows = db.execute(
            f"SELECT sid, old_day, m.completed_date FROM {name}_merged m LEFT JOIN {name}_old o USING (sid) "
            f"WHERE m.content_sha256 IS NOT NULL AND (o.sid IS NULL OR {differs})"
        ).fetchall()
        again = {sid: (before, day) for sid, before, day in rows}
        recordings = db.sql(
            f"SELECT sid AS reference_sid FROM {RECORDINGS.name}_merged m "
            f"LEFT JOIN {RECORDINGS.name}_old o USING (sid) WHERE m.call_sid IS DISTINCT FROM o.call_sid"
        ).to_arrow_table()
        files = self._landed_keys(ADD_ON_PAYLOADS, recordings["reference_sid"].combine_chunks(), "reference_sid")
        if files:
            db.register("called", recordings)
            rows = db.execute(
                f"SELECT sid, completed_date FROM {self.archive.relation(ADD_ON_PAYLOADS, files)} "
                "SEMI JOIN called USING (reference_sid) WHERE content_sha256 IS NOT NULL"
            ).fetchall()
            db.unregister("called")
            again = {sid: (day, day) for sid, day in rows} | again
        return {sid: days for sid, days in again.items() if sid not in new}

    def _landed_texts(self, days: Mapping[str, tuple[date | None, date | None]]) -> Iterator[pa.Table]:
        """Landed texts of these payloads, on the days that they are on now."""
        wanted = pa.array(sorted(days), pa.string())
        live = self.head.tables[CONTENTS.name]
        for path in self._landed_keys(CONTENTS, wanted):
            for texts in in_file(self.archive, live[path], wanted):
                now = [days[sid][1] for sid in texts["payload_sid"].to_pylist()]
                yield texts.set_column(1, TEXTS.field(1), pa.array(now, pa.date32()))

    def _payloads_to_derive(self, db: duckdb.DuckDBPyConnection, alone: Collection[str]) -> pa.Table:
        """What payloads and their recordings say once they are merged, also those of contents that came `alone`."""
        payloads = self._as_merged(db, ADD_ON_PAYLOADS, ["sid", *DERIVED_FROM], alone)
        referred = f"SELECT DISTINCT reference_sid FROM {payloads} EXCEPT SELECT sid FROM {RECORDINGS.name}_seen"
        unseen = {sid for (sid,) in db.execute(referred).fetchall() if sid is not None}
        recordings = self._as_merged(db, RECORDINGS, ["sid", "call_sid"], unseen)
        return db.sql(payloads_sql(payloads, recordings)).to_arrow_table().cast(PAYLOADS)

    def _as_merged(
        self, db: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[str], more: Collection[str]
    ) -> str:
        """A temporary table of the rows of this batch as they are merged, and of `more` that are landed."""
        name, key, wanted = table.name, table.key, ", ".join(columns)
        files = self._landed_keys(table, pa.array(sorted(more), pa.string()))
        db.register(f"{name}_more", pa.table({key: pa.array(sorted(more), pa.string())}))
        db.execute(
            f"CREATE TEMP TABLE {name}_now AS SELECT {wanted} FROM {name}_merged UNION ALL "
            f"SELECT {wanted} FROM {name}_old ANTI JOIN {name}_merged USING ({key}) UNION ALL "
            f"SELECT {wanted} FROM {self.archive.relation(table, files)} SEMI JOIN {name}_more USING ({key})"
        )
        db.unregister(f"{name}_more")
        return f"{name}_now"

    def _on_their_results_day(self, db: duckdb.DuckDBPyConnection, source: pa.Table) -> pa.Table:
        """`source` with the day filled in where an older listing did not know it but the landed result does."""
        if not source["completed_date"].null_count:
            return source
        dayless = source["add_on_result_sid"].filter(pc.is_null(source["completed_date"])).drop_null()
        landed = self._landed_keys(ADD_ON_RESULTS, dayless.combine_chunks())
        db.register("given", source)
        rows = db.sql(
            "SELECT g.* REPLACE (coalesce(g.completed_date, m.completed_date, o.completed_date) AS completed_date) "
            f"FROM given g LEFT JOIN {ADD_ON_RESULTS.name}_merged m ON m.sid = g.add_on_result_sid "
            f"LEFT JOIN {self.archive.relation(ADD_ON_RESULTS, landed)} o ON o.sid = g.add_on_result_sid"
        ).to_arrow_table()
        db.unregister("given")
        return rows.cast(ADD_ON_PAYLOADS.schema)

    def _landed_contents(self, db: duckdb.DuckDBPyConnection, sids: Iterable[str]) -> set[str]:
        """Payloads whose content is landed: their landed row says so, in the same commit.

        Contents that come without their payload row are looked up themselves.
        """
        name = ADD_ON_PAYLOADS.name
        rows = db.execute(f"SELECT sid FROM {name}_old WHERE content_sha256 IS NOT NULL").fetchall()
        batch = self._payloads_given(db)
        alone = pa.array([sid for sid in sids if sid not in batch], pa.string())
        return {sid for (sid,) in rows}.union(*self._landed_keys(CONTENTS, alone).values())

    def _payloads_given(self, db: duckdb.DuckDBPyConnection) -> set[str]:
        """Payloads whose rows this batch has."""
        return {sid for (sid,) in db.execute(f"SELECT sid FROM {ADD_ON_PAYLOADS.name}_seen").fetchall()}

    def _payload_facts(self, db: duckdb.DuckDBPyConnection) -> dict[str, PayloadFacts]:
        """What the payload rows of this batch say once they are merged."""
        name, columns = ADD_ON_PAYLOADS.name, "sid, completed_date, content_sha256, add_on_result_sid, account_sid"
        rows = db.execute(
            f"SELECT {columns} FROM {name}_merged UNION ALL "
            f"SELECT {columns} FROM {name}_old ANTI JOIN {name}_merged USING (sid)"
        ).fetchall()
        return {sid: PayloadFacts(*facts) for sid, *facts in rows}

    # -- shared ---------------------------------------------------------------------------------------

    def _landed_keys(self, table: Table, values: pa.Array, column: str | None = None) -> dict[str, set[str]]:
        """Which of `values` are landed, by the path of the live file that holds them, wherever a row lives now."""
        files = self.head.tables[table.name]
        return self.archive.keys.holding(self.archive.root, files, column or table.key, values)

    def _relative(self, path: str) -> str:
        return path[len(str(self.archive.root)) + 1 :]

    def _nothing_vanished(self, table: Table, change: _Change) -> None:
        before, after = (sum(file.keys for file in files) for files in (change.drop, change.add))
        if after != before + change.added:
            raise RepairWarehouse(
                f"Landing into {table.name} would turn {before} + {change.added} rows into {after}; nothing was landed."
            )

    def _load_row(self, changes: Mapping[str, _Change]) -> pa.Table:
        touched = {name: change.added + change.changed for name, change in changes.items()}
        row = {
            "load_id": self.load_id,
            "run_id": self.run_id,
            "loaded_at": self.now,
            "content_bytes": changes[CONTENTS.name].content_bytes,
            **{name: touched[name] for name in touched if name in LOADS.names},
        }
        return pa.Table.from_pylist([row], schema=LOADS.schema)


def _unknown(table: Table, rows: pa.Table, known: set[str]) -> pa.Table:
    """The rows whose key is not among `known`, which has them then; the first of equal keys."""
    fresh = []
    for position, value in enumerate(rows[table.key].to_pylist()):
        if value not in known:
            known.add(value)
            fresh.append(position)
    return rows if len(fresh) == rows.num_rows else rows.take(pa.array(fresh, pa.int64()))


def without_erased(
    erased: Erased, batch: Mapping[str, pa.Table], spooled: Sequence[SpooledContent]
) -> tuple[Mapping[str, pa.Table], Sequence[SpooledContent]]:
    """What is left of a batch to be landed when nothing that was erased may come back."""
    if not erased.fingerprints:
        return batch, spooled
    left = dict(batch)
    payloads: set[str] = set()
    for name, columns in SIDS_OF.items():
        rows = left.get(name)
        if rows is None or not rows.num_rows:
            continue
        gone = [
            any(sid in erased for sid in sids) for sids in zip(*(rows[c].to_pylist() for c in columns), strict=True)
        ]
        if name == CONTENTS.name:
            gone = [out or sid in payloads for out, sid in zip(gone, rows["payload_sid"].to_pylist(), strict=True)]
        if name == QUARANTINE.name:
            raws = (value.as_py() for value in rows["raw"])
            gone = [out or erased.mentioned(raw) for out, raw in zip(gone, raws, strict=True)]
        if name == ADD_ON_PAYLOADS.name:
            payloads = {sid for out, sid in zip(gone, rows["sid"].to_pylist(), strict=True) if out}
        left[name] = rows.filter(pa.array([not out for out in gone], pa.bool_()))
    return left, [c for c in spooled if c.payload_sid not in erased and c.payload_sid not in payloads]
