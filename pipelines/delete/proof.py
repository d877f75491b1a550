"""Verification of single add-on results: the proof that one of them is whole and safe here.

A `VerifiedResult` can be made in this module only, and is made only from bytes read from disk a moment before: sealed
files that hash to what their commit names, contents that hash to what came off the wire, and the same rows and contents
in `addons.duckdb`. Whoever holds one holds the proof. Must not ask Twilio and must not change anything.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from typing import Any

import duckdb

from pipelines.delete.verified import _KEY, PROOFS, Unverified, VerifiedPayload, VerifiedResult
from pipelines.records.sids import AccountSid
from warehouse.clock import moment
from warehouse.errors import FixWarehouse
from warehouse.pieces import PIECES, hashed
from warehouse.published import views
from warehouse.published.shown import limit_memory, published, shown_contents
from warehouse.quarantine import open_rows
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, QUARANTINE, RESOLUTIONS, Table, sql_type
from warehouse.store import commits
from warehouse.store.archive import Snapshot
from warehouse.store.commit import Commit
from warehouse.store.damage import is_sound, reading_errors
from warehouse.store.names import PUBLISHED
from warehouse.store.sealed import partition_day


def landed_days(commit: Commit, first: date, last: date) -> list[date]:
    """The partition days from `first` to `last` that hold add-on results."""
    days = {partition_day(file) for file in commit.tables[ADD_ON_RESULTS.name].values()}
    return sorted(day for day in days if day is not None and first <= day <= last)


def exported_results(snapshot: Snapshot, account: AccountSid) -> int:
    """How many results of an account are exported and not deleted, over all days."""
    archive, relation = snapshot.archive, snapshot.relation(ADD_ON_RESULTS)
    with reading_errors(archive.root), archive.database() as db:
        rows = db.execute(
            f"SELECT count(*) FROM {relation} WHERE exported_at IS NOT NULL AND deleted_at IS NULL AND account_sid = ?",
            [account],
        ).fetchall()
    return int(rows[0][0])


def verify_results(
    snapshot: Snapshot, days: Collection[date], *, only: Collection[str] | None = None
) -> list[VerifiedResult | Unverified]:
    """Read back the results of partition `days`, or `only` some of them, and say of each whether it is proven.

    A result of `only` that is not found on these days is Unverified.
    """
    found = _Reading(snapshot, days, only).verdicts() if days else []
    missing = set(only or ()) - {result.sid for result in found}
    return [*found, *(Unverified(sid, None, None, PROOFS, "It is not landed.") for sid in sorted(missing))]


Row = Mapping[str, Any]

_RESULT_FACTS = (
    "sid, reference_sid, account_sid, completed_date, status, payload_count, epoch_us(date_updated) AS date_updated, "
    "epoch_us(exported_at) AS exported_at, epoch_us(deleted_at) AS deleted_at"
)
_PAYLOAD_FACTS = (
    "sid, add_on_result_sid, content_length, content_sha256, epoch_us(date_updated) AS date_updated, "
    "epoch_us(fetched_at) AS fetched_at"
)


class _Reading:
    """One reading of some days: everything the verdicts rest on."""

    def __init__(self, snapshot: Snapshot, days: Collection[date], only: Collection[str] | None) -> None:
        self.snapshot, self.archive, self.days = snapshot, snapshot.archive, sorted(days)
        archive = snapshot.archive
        files = {table: snapshot.files(table, days) for table in (ADD_ON_RESULTS, ADD_ON_PAYLOADS, CONTENTS)}
        self.damaged = {
            f.path: partition_day(f) for each in files.values() for f in each if not is_sound(archive.root, f)
        }
        self.files = {
            table: [f for f in each if partition_day(f) not in self.damaged.values()] for table, each in files.items()
        }
        with reading_errors(archive.root), archive.database() as db:
            self.results = self._rows(db, ADD_ON_RESULTS, _RESULT_FACTS, "sid", only)
            sids = [row["sid"] for row in self.results]
            self.payloads = self._rows(db, ADD_ON_PAYLOADS, _PAYLOAD_FACTS, "add_on_result_sid", sids)
            self.quarantined = self._quarantined(db)
        self.wanted = {row["sid"] for row in self.payloads}
        with reading_errors(archive.root):
            self.contents = self._content_hashes()
        self._read_published(sids)

    def verdicts(self) -> list[VerifiedResult | Unverified]:
        """One for each result."""
        of: dict[str, list[Row]] = {}
        for payload in self.payloads:
            of.setdefault(payload["add_on_result_sid"], []).append(payload)
        seen: dict[str, int] = {}
        for row in self.results:
            seen[row["sid"]] = seen.get(row["sid"], 0) + 1
        verdicts = [self._verdict(row, of.get(row["sid"], []), once=seen[row["sid"]] == 1) for row in self.results]
        return [*verdicts, *self._of_damaged_days()]

    def _verdict(self, row: Row, payloads: list[Row], *, once: bool) -> VerifiedResult | Unverified:
        failed = {
            "sealed": self._unsealed(row, payloads, once=once),
            "reread": next(
                (
                    f"The content of payload {p['sid']} does not have the SHA-256 it came with."
                    for p in payloads
                    if p["sid"] in self.contents
                    and self.contents[p["sid"]][:2] != (p["content_sha256"], p["content_length"])
                ),
                None,
            ),
            "published": self._unpublished(row, payloads),
            "clean": next(
                (
                    f"{sid} is in quarantine."
                    for sid in (row["sid"], row["reference_sid"], *(p["sid"] for p in payloads))
                    if sid in self.quarantined
                ),
                None,
            ),
        }
        sentences = [sentence for sentence in failed.values() if sentence]
        if sentences:
            names = frozenset(name for name, sentence in failed.items() if sentence)
            return Unverified(row["sid"], row["reference_sid"], row["completed_date"], names, " ".join(sentences))
        return VerifiedResult(
            row["sid"],
            row["reference_sid"],
            row["account_sid"],
            row["completed_date"],
            row["status"],
            moment(row["date_updated"]),
            max(moment(at) for at in (row["exported_at"], *(p["fetched_at"] for p in payloads))),
            moment(row["deleted_at"]),
            tuple(
                VerifiedPayload(
                    p["sid"],
                    p["content_length"],
                    p["content_sha256"],
                    moment(p["date_updated"]),
                    moment(p["fetched_at"]),
                )
                for p in sorted(payloads, key=lambda p: str(p["sid"]))
            ),
            self.snapshot.commit.number,
            self.published_commit,
            {
                path: self.snapshot.commit.tables[path.split("/")[0]][path].sha256
                for path in sorted(
                    {row["file"], *(p["file"] for p in payloads), *(self.contents[p["sid"]][2] for p in payloads)}
                )
            },
            key=_KEY,
        )

    def _unsealed(self, row: Row, payloads: list[Row], *, once: bool) -> str | None:
        """Why the row and all contents are not in sealed files; None when they are."""
        sids = {p["sid"] for p in payloads}
        if not once or len(sids) != len(payloads):
            return "It is landed more than once."
        if row["exported_at"] is None or row["reference_sid"] is None or row["account_sid"] is None:
            return "It is not exported."
        if not payloads:
            return "No payload of it is landed, so nothing proves that it has none."
        if row["payload_count"] != len(payloads):
            return f"Twilio has listed {row['payload_count']} payloads and {len(payloads)} are landed."
        for p in payloads:
            if None in (p["content_sha256"], p["content_length"], p["fetched_at"]) or p["sid"] not in self.contents:
                return f"The content of payload {p['sid']} is not in a sealed file."
        return None

    def _unpublished(self, row: Row, payloads: list[Row]) -> str | None:
        if self.shown_rows.get(row["sid"]) != row["fingerprint"]:
            return f"{PUBLISHED} does not show this row."
        for p in payloads:
            if self.shown_rows.get(p["sid"]) != p["fingerprint"]:
                return f"{PUBLISHED} does not show the row of payload {p['sid']}."
            if self.shown_contents.get(p["sid"]) != [p["content_sha256"]]:
                return f"{PUBLISHED} does not show the content of payload {p['sid']} as it came."
        if self.shown_payloads.get(row["sid"], set()) != {p["sid"] for p in payloads}:
            return f"{PUBLISHED} shows other payloads of it."
        return None

    def _of_damaged_days(self) -> Iterator[Unverified]:
        """Nothing is verified on a day that has a damaged file: which rows it held cannot be known."""
        for path, day in self.damaged.items():
            yield Unverified(path, None, day, PROOFS, f"{path} is missing or damaged.")

    # -- reading ------------------------------------------------------------------------------------------

    def _rows(
        self, db: duckdb.DuckDBPyConnection, table: Table, facts: str, key: str, sids: Collection[str] | None
    ) -> list[Row]:
        """Rows of sound files, each with the hash of all its columns and the file that holds it."""
        relation = self.archive.relation(table, [f.path for f in self.files[table]], filename=True, json="typed")
        wanted = "" if sids is None else f"WHERE {key} IN (SELECT unnest($sids::VARCHAR[]))"
        cursor = db.execute(
            f"SELECT {facts}, filename AS file, hash({', '.join(table.names)}) AS fingerprint "
            f"FROM {relation} {wanted} ORDER BY sid",
            {} if sids is None else {"sids": list(sids)},
        )
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
        return [{**row, "file": row["file"][len(str(self.archive.root)) + 1 :]} for row in rows]

    def _quarantined(self, db: duckdb.DuckDBPyConnection) -> set[str]:
        """SIDs of what is open in quarantine, or what something in quarantine was found under."""
        relation = open_rows(*self.snapshot.relations(QUARANTINE, RESOLUTIONS))
        rows = db.execute(f"SELECT DISTINCT unnest([sid, parent_sid]) FROM {relation}").fetchall()
        return {row[0] for row in rows if row[0] is not None}

    def _content_hashes(self) -> dict[str, tuple[str, int, str]]:
        """SHA-256 and length of every wanted content, read from the sealed files, and the file that holds it."""
        found: dict[str, tuple[str, int, str]] = {}
        for file in self.files[CONTENTS]:
            for sid, digest, length in hashed(self.archive.read(file, CONTENTS, PIECES)):
                if sid in self.wanted:  # one that is there twice is not the one that was landed
                    found[sid] = ("" if sid in found else digest, length, file.path)
        return found

    def _read_published(self, sids: list[str]) -> None:
        """What `addons.duckdb` shows of these results, over a connection of its own; nothing if it cannot be read."""
        self.shown_rows: dict[str, int] = {}
        self.shown_payloads: dict[str, set[str]] = {}
        self.shown_contents: dict[str, list[str]] = {}
        shown = published(self.archive)
        self.published_commit = 0 if shown is None else shown.commit
        if shown is None or shown.commit not in commits.numbers(self.archive.root):
            return
        try:
            with contextlib.closing(duckdb.connect(str(self.archive.root / PUBLISHED), read_only=True)) as db:
                db.execute("SET memory_limit = '64MB'; SET threads = 1; SET TimeZone = 'UTC'")
                for table, key in ((ADD_ON_RESULTS, "sid"), (ADD_ON_PAYLOADS, "add_on_result_sid")):
                    rows = db.execute(
                        f"SELECT sid, hash({', '.join(table.names)}), {key} FROM {table.name} "
                        f"WHERE {key} IN (SELECT unnest($sids::VARCHAR[]))",
                        {"sids": sids},
                    ).fetchall()
                    for sid, value, parent in rows:  # a row shown twice is not the row that was landed
                        self.shown_rows[sid] = -1 if sid in self.shown_rows else value
                        if table is ADD_ON_PAYLOADS:
                            self.shown_payloads.setdefault(parent, set()).add(sid)
                largest = limit_memory(db)
                for day in self.days if _shows_contents(db) else ():
                    for sid, digest in shown_contents(db, day, largest=largest):
                        if sid in self.wanted:
                            self.shown_contents.setdefault(sid, []).append(digest)
        except duckdb.OutOfMemoryException as error:
            raise FixWarehouse(
                f"DuckDB has too little memory to read {PUBLISHED}; nothing is said about it."
            ) from error
        except duckdb.Error:
            self.shown_rows, self.shown_payloads, self.shown_contents = {}, {}, {}


def _shows_contents(db: duckdb.DuckDBPyConnection) -> bool:
    """Whether the view that analysts ask is the one that was published, over the inner views that are read here."""
    definition = "SELECT sql FROM duckdb_views() WHERE view_name = 'contents' AND schema_name = 'main'"
    with contextlib.closing(duckdb.connect()) as scratch:
        scratch.execute("CREATE SCHEMA _contents")
        columns = ", ".join(f"{column.name} {sql_type(column)}" for column in CONTENTS.columns)
        for name in ("whole", "chunks"):
            scratch.execute(f"CREATE TABLE _contents.{name} ({columns})")
        scratch.execute(views.CONTENTS_VIEW)
        return db.execute(definition).fetchall() == scratch.execute(definition).fetchall()
