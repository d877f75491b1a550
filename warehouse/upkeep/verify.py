"""Verify: read back what is stored and compare it with what was received.

The comparison reads every byte from disk: sealed files against the hash in their commit, contents against the
SHA-256 taken from the wire, tables against each other, and `addons.duckdb` against the archive.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import pyarrow as pa

from warehouse.derived import reader_of
from warehouse.erasures import read_erased, unfinished
from warehouse.errors import FixWarehouse, NotSealed, RepairWarehouse, Untrusted, UpdateProgram, WarehouseError
from warehouse.ledger import contradictions, deleted_results, read_ledger
from warehouse.pieces import PIECES, hashed
from warehouse.published import views
from warehouse.published.calls import inner
from warehouse.published.catalog import LAYOUT
from warehouse.published.delta import differences
from warehouse.published.shown import (
    Published,
    limit_memory,
    on,
    published,
    shown_contents,
    stray_logs,
    unchanged,
    why_unopened,
)
from warehouse.schema import (
    ADD_ON_PAYLOADS,
    ADD_ON_RESULTS,
    CONTENTS,
    DELETIONS,
    DERIVED,
    ERASURES,
    RECORDINGS,
    TABLES,
    TURNS,
    Table,
)
from warehouse.store import commits
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.commit import EMPTY, Commit, LiveFile
from warehouse.store.damage import fault, reading_errors
from warehouse.store.lock import shared
from warehouse.store.marker import kept_setting, read_marker
from warehouse.store.names import MARKER, NULL_DAY, PUBLISHED
from warehouse.store.seal import check_sealed
from warehouse.store.sealed import partition_day
from warehouse.store.strangers import strangers
from warehouse.upkeep.copies import copies_of_erased
from warehouse.upkeep.derive import SETTING, underived

_DERIVED = ("calls", *(table.name for table in DERIVED))
"""What a file that an earlier version published does not have, or has otherwise."""


DERIVED_MB = 256
"""For comparing rows of the derived tables: a text may have 8 MB, and DuckDB holds some hundred rows of a block."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference between what is stored and what was received."""

    kind: str
    subject: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was read back and what differs."""

    commit: int
    published_commit: int | None
    files: int
    bytes: int
    contents: int
    mismatches: tuple[Mismatch, ...]
    strangers: tuple[str, ...] = ()
    """Files under the root that this program did not make, by their paths from there: left alone, and no mismatch."""


def verify(archive: Archive, *, first: date | None = None, last: date | None = None) -> Verification:
    """Check the archive and `addons.duckdb`, or only the partitions from `first` to `last`.

    Partitions are UTC days of `completed_date`; tables without that partition are checked whole.

    Raises:
        UpdateProgram: a newer version wrote it in a format that this one cannot read.
        FixWarehouse: DuckDB has too little memory to read `addons.duckdb`.
    """
    with shared(archive.root):
        return _verify(archive, first=first, last=last)


def _verify(archive: Archive, *, first: date | None, last: date | None) -> Verification:
    broken = [*_broken_marker(archive), *_broken_commits(archive)]
    try:
        snapshot = archive.newest()
    except WarehouseError:  # without it nothing else of the archive can be judged
        shown, different = _judge_published(archive, comparable=False)
        number = max(commits.numbers(archive.root))
        return Verification(number, None if shown is None else shown.commit, 0, 0, 0, (*broken, *different))
    head = snapshot.commit
    files = [file for file in head.files() if _in_range(file, first, last)]
    mismatches = [*_damaged_files(archive, files)]
    damaged = {m.subject for m in mismatches}
    mismatches += broken
    mismatches += _wrong_seal(snapshot)
    mismatches += _copies(archive)
    sound = {f.path for f in files} - damaged
    contents = [f for f in files if f.path in sound and f.path.startswith(f"{CONTENTS.name}/")]
    with archive.database() as db:
        mismatches += _wrong_contents(snapshot, db, contents, damaged=damaged)
        if not damaged:
            mismatches += _broken_references(snapshot, db)
            mismatches += _underived(snapshot, db, contents)
    with contextlib.suppress(RepairWarehouse):  # of which there is a mismatch already
        if unfinished(archive):
            sentence = "An erasure was cut off, and what it erased may still be on the disk; run `addon-export erase`."
            mismatches.append(Mismatch("erasure", ERASURES.name, sentence))
    if not damaged:
        mismatches += _broken_ledger(snapshot)
    comparable = not any(mismatch.kind == "file" for mismatch in mismatches)
    shown, different = _judge_published(archive, comparable=comparable)
    mismatches += different
    if shown is not None and (shown.commit, shown.layout) == (head.number, LAYOUT):
        mismatches += (Mismatch("delta", path, sentence) for path, sentence in differences(archive, head))
    return Verification(
        head.number,
        None if shown is None else shown.commit,
        len(files),
        sum(f.bytes for f in files),
        sum(f.keys for f in contents),
        tuple(mismatches),
        tuple(strangers(archive.root)),
    )


def _copies(archive: Archive) -> Iterator[Mismatch]:
    with contextlib.suppress(OSError, pa.ArrowException, RepairWarehouse):  # of which there is a mismatch already
        for path in copies_of_erased(archive).holding:
            yield Mismatch("copy", path, f"{path} is not ours and holds a SID that was erased; remove it if you must.")


def _wrong_seal(snapshot: Snapshot) -> Iterator[Mismatch]:
    archive, head = snapshot.archive, snapshot.commit
    try:
        check_sealed(head, archive.seal_key)
    except NotSealed as error:
        yield Mismatch("seal", commits.commit_path(archive.root, head.number).name, str(error))


def verify_since(archive: Archive, before: Commit) -> tuple[Mismatch, ...]:
    """Check only the live files that were added after `before`."""
    snapshot = archive.newest()
    tables = snapshot.commit.tables
    files = [file for name, table in tables.items() for path, file in table.items() if path not in before.tables[name]]
    return verify_files(snapshot, files)


def verify_files(snapshot: Snapshot, files: Sequence[LiveFile]) -> tuple[Mismatch, ...]:
    """Check only `files` of a snapshot: their own hashes, and those of the contents in them."""
    mismatches = [*_damaged_files(snapshot.archive, files)]
    damaged = {m.subject for m in mismatches}
    contents = [f for f in files if f.path not in damaged and f.path.startswith(f"{CONTENTS.name}/")]
    if not contents:
        return tuple(mismatches)
    with snapshot.archive.database() as db:
        return (*mismatches, *_wrong_contents(snapshot, db, contents, damaged=damaged))


def _in_range(file: LiveFile, first: date | None, last: date | None) -> bool:
    name, _, value = file.folder.partition("=")
    if name != "completed_date" or value == NULL_DAY:
        return True
    return (first is None or value >= first.isoformat()) and (last is None or value <= last.isoformat())


def _broken_marker(archive: Archive) -> Iterator[Mismatch]:
    try:
        read_marker(archive.root)
    except RepairWarehouse as error:
        yield Mismatch("marker", MARKER, str(error))


def _broken_commits(archive: Archive) -> Iterator[Mismatch]:
    """Commit files, superseded ones too, that do not hold what was committed."""
    for number in commits.numbers(archive.root):
        try:
            commits.load(archive.root, number)
        except UpdateProgram:
            raise
        except WarehouseError as error:
            yield Mismatch("commit", commits.commit_path(archive.root, number).name, str(error))
        except FileNotFoundError:
            continue  # collected meanwhile


def _damaged_files(archive: Archive, files: Iterable[LiveFile]) -> Iterator[Mismatch]:
    for file in files:
        try:
            if (sentence := fault(archive.root, file)) is not None:
                yield Mismatch("file", file.path, sentence)
        except OSError as error:
            yield Mismatch("file", file.path, f"{file.path} cannot be read: {error.strerror}.")
        except Untrusted as link:
            yield Mismatch("file", file.path, str(link))


def _wrong_contents(
    snapshot: Snapshot, db: duckdb.DuckDBPyConnection, files: Iterable[LiveFile], *, damaged: Collection[str]
) -> Iterator[Mismatch]:
    """Contents whose bytes do not hash to what came off the wire, or that no payload row names.

    Where the payload rows themselves are damaged, only the contents that have a sound one can be compared.
    """
    archive, folders = snapshot.archive, dict[str, list[LiveFile]]()
    for file in files:
        folders.setdefault(file.folder, []).append(file)
    for folder, together in folders.items():
        payloads = [f.path for f in snapshot.files(ADD_ON_PAYLOADS) if f.folder == folder]
        sound = [path for path in payloads if path not in damaged]
        try:
            with reading_errors(archive.root):
                rows = db.execute(
                    f"SELECT sid, content_sha256, content_length FROM {archive.relation(ADD_ON_PAYLOADS, sound)} "
                    "WHERE content_sha256 IS NOT NULL"
                ).fetchall()
        except RepairWarehouse:
            yield Mismatch("file", folder, f"Payloads in {ADD_ON_PAYLOADS.name}/{folder} cannot be read.")
            continue
        expected = {sid: (digest, length) for sid, digest, length in rows}
        for file in together:
            try:
                with reading_errors(archive.root):
                    contents = [*hashed(archive.read(file, CONTENTS, PIECES))]
            except RepairWarehouse as error:  # damaged since its bytes were compared
                yield Mismatch("file", file.path, str(error))
                continue
            for sid, *found in contents:
                if sid not in expected:
                    if len(sound) == len(payloads):
                        sentence = f"The content of payload {sid} has no payload row in its partition."
                        yield Mismatch("content", sid, sentence)
                elif tuple(found) != expected[sid]:
                    sentence = f"The content of payload {sid} does not have the SHA-256 it came with."
                    yield Mismatch("content", sid, sentence)


def _broken_references(snapshot: Snapshot, db: duckdb.DuckDBPyConnection) -> Iterator[Mismatch]:
    """Duplicate keys, rows whose parent is missing, and payloads said to be landed whose content is not."""
    archive, relation = snapshot.archive, snapshot.relation
    told_apart = [table for table in TABLES.values() if table is not TURNS]  # those are compared with their contents
    queries = {
        **{f"{table.name} holds {{}} more than once.": twice(table, relation(table)) for table in told_apart},
        "Payload {} belongs to a result that is not landed.": orphans(
            relation(ADD_ON_PAYLOADS), relation(RECORDINGS), relation(ADD_ON_RESULTS)
        ),
        "Result {} is exported but its payloads are not all landed.": f"SELECT r.sid FROM {relation(ADD_ON_RESULTS)} r "
        f"WHERE r.exported_at IS NOT NULL AND r.payload_count > (SELECT count(*) FROM {relation(ADD_ON_PAYLOADS)} p "
        "WHERE p.add_on_result_sid = r.sid)",
        "The content of payload {} is said to be landed but is not there.": "SELECT sid FROM "
        f"{relation(ADD_ON_PAYLOADS)} WHERE content_sha256 IS NOT NULL AND sid NOT IN "
        f"(SELECT payload_sid FROM {relation(CONTENTS)})",
    }
    try:
        with reading_errors(archive.root):
            for sentence, query in queries.items():
                for subject, *_ in db.execute(query).fetchall():
                    yield Mismatch("reference", str(subject), sentence.format(subject))
    except RepairWarehouse as error:
        yield Mismatch("file", str(archive.root), str(error))


def _underived(snapshot: Snapshot, db: duckdb.DuckDBPyConnection, contents: Iterable[LiveFile]) -> Iterator[Mismatch]:
    """Rows of the derived tables that do not follow from these contents."""
    archive = snapshot.archive
    reader = reader_of(archive)
    whole = kept_setting(archive.root, SETTING) == reader.mark
    try:
        with reading_errors(archive.root):
            for day in sorted({partition_day(file) for file in contents}, key=lambda day: day or date.max):
                for table, key in underived(snapshot, db, day, reader, whole=whole):
                    sentence = (
                        f"The row {key} of {table.name} does not follow from its content; run `addon-export rebuild`."
                    )
                    yield Mismatch("derived", key, sentence)
    except RepairWarehouse as error:
        yield Mismatch("file", str(archive.root), str(error))


def twice(table: Table, relation: str) -> str:
    """SQL for the keys that a table holds more than once (`sid`), and how often (`rows`)."""
    return (
        f"SELECT {table.key} AS sid, count(*) AS rows FROM {_keyed(table, relation)} "
        f"GROUP BY {table.key} HAVING count(*) > 1 ORDER BY {table.key}"
    )


def orphans(payloads: str, recordings: str, results: str) -> str:
    """SQL for payloads whose result is not landed although their recording counts as done.

    Contents are landed before their result, so that it may be missing until then.
    """
    return (
        "SELECT p.sid AS payload, p.add_on_result_sid AS add_on_result, p.reference_sid AS recording "
        f"FROM {payloads} p JOIN {recordings} r ON r.sid = p.reference_sid WHERE r.open_results = 0 "
        f"AND p.add_on_result_sid NOT IN (SELECT sid FROM {results}) ORDER BY p.sid"
    )


def _keyed(table: Table, relation: str) -> str:
    """One row for each key: of the chunks of a content only the first."""
    return f"(FROM {relation} WHERE coalesce(chunk, 0) = 0)" if table is CONTENTS else relation


def _broken_ledger(snapshot: Snapshot) -> Iterator[Mismatch]:
    """Whether the ledger of deletions is the chain that was written, and agrees with `deleted_at`."""
    ledger = read_ledger(snapshot)
    if broken := ledger.broken():
        yield Mismatch("deletions", DELETIONS.name, broken)
    for sentence in contradictions(ledger, deleted_results(snapshot), read_erased(snapshot)):
        yield Mismatch("deletions", DELETIONS.name, sentence)


def _judge_published(archive: Archive, *, comparable: bool) -> tuple[Published | None, list[Mismatch]]:
    """What `addons.duckdb` shows and what is wrong with it; without a sound archive its bytes alone are judged.

    Judged anew when another was published meanwhile.
    """
    while True:
        judged = _identity(archive)
        shown = published(archive)
        found = [*_published_differences(archive, shown)] if comparable else []
        found = found or [*_published_bits(archive)]
        if not found or _identity(archive) == judged:
            return shown, found


def _identity(archive: Archive) -> tuple[int, int] | None:
    """Tells the file that is published now from those before and after it."""
    try:
        found = (archive.root / PUBLISHED).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _published_differences(archive: Archive, shown: Published | None) -> Iterator[Mismatch]:
    """Whether `addons.duckdb` holds what its commit says, row for row and byte for byte.

    That it shows an older commit is no mismatch: an export that was killed has not published yet.
    """
    if shown is None:
        if archive.head().number:
            yield Mismatch("published", PUBLISHED, f"{PUBLISHED} {why_unopened(archive.root / PUBLISHED)}.")
        return
    if shown.commit not in (0, *commits.numbers(archive.root)):
        yield Mismatch(
            "published",
            PUBLISHED,
            f"{PUBLISHED} shows commit {shown.commit}, which is gone; run `addon-export rebuild`.",
        )
        return
    try:
        head = commits.load(archive.root, shown.commit) if shown.commit else EMPTY
    except RepairWarehouse as error:
        yield Mismatch("published", PUBLISHED, f"{PUBLISHED} cannot be judged: {error}")
        return
    try:
        with contextlib.closing(duckdb.connect(str(archive.root / PUBLISHED), read_only=True)) as db:
            db.execute("SET memory_limit = '32MB'; SET threads = 1; SET TimeZone = 'UTC'")
            earlier = shown.layout < LAYOUT  # made before transcripts were tables
            for relation in views.RELATIONS:
                if not (earlier and relation.name in _DERIVED):
                    db.execute(f"SELECT * FROM {relation.name} LIMIT 0")
            for table in TABLES.values():
                if earlier and table.derived:
                    continue
                yield from _table_differences(archive, db, table, head)
            wrong = _wrong_published(db)
    except (duckdb.Error, ValueError, OverflowError) as error:
        if isinstance(error, duckdb.OutOfMemoryException) and unchanged(archive):
            raise FixWarehouse(
                f"DuckDB has too little memory to read {PUBLISHED}; nothing is said about it."
            ) from error
        yield Mismatch(
            "published", PUBLISHED, f"{PUBLISHED} cannot be read: {type(error).__name__}; run `addon-export rebuild`."
        )
        return
    for sid in wrong:
        yield Mismatch("published", sid, f"{PUBLISHED} holds other bytes for the content of payload {sid}.")


def _published_bits(archive: Archive) -> Iterator[Mismatch]:
    """Whether the file has the bytes it was published with: DuckDB leaves some unread, and may read them one day."""
    for log in stray_logs(archive.root):
        changes = f"changes what {PUBLISHED} shows; run `addon-export rebuild`."
        sentence = f"{log.name} was not written by addon-export, and {changes}"
        yield Mismatch("published", PUBLISHED, sentence)
    if commits.numbers(archive.root) and not unchanged(archive):
        sentence = (
            f"{PUBLISHED} is missing or does not have the SHA-256 it was published with; run `addon-export rebuild`."
        )
        yield Mismatch("published", PUBLISHED, sentence)


def _table_differences(
    archive: Archive, db: duckdb.DuckDBPyConnection, table: Table, head: Commit
) -> Iterator[Mismatch]:
    """Whether a published table has the rows of the archive: same number, same hash over all values."""
    if table.derived:
        db.execute(f"SET memory_limit = '{DERIVED_MB}MB'")
    there = {name for name, *_ in db.execute(f"DESCRIBE {inner(table)}").fetchall()}
    compared = [c.name for c in table.columns if c.name in there or not c.late]  # an earlier version may have made it
    columns = "payload_sid, completed_date" if table is CONTENTS else ", ".join(compared)
    fingerprint = f"SELECT count(*), bit_xor(hash({columns})) FROM "
    rows = Snapshot(archive, head).relation(table, json="typed")
    expected = db.execute(fingerprint + _keyed(table, rows)).fetchall()
    if db.execute(fingerprint + inner(table)).fetchall() != expected:
        yield Mismatch("published", table.name, f"{PUBLISHED} holds other rows of {table.name} than the archive.")


def _wrong_published(db: duckdb.DuckDBPyConnection) -> list[str]:
    """Payloads whose published content is missing or hashes to something else; no more than a day is held."""
    largest = limit_memory(db)
    days = db.execute(
        "SELECT completed_date FROM add_on_payloads UNION SELECT completed_date FROM contents ORDER BY ALL"
    ).fetchall()
    wrong = []
    for (day,) in days:
        of_day = f"SELECT sid, content_sha256 FROM add_on_payloads WHERE {on(day)}"
        expected = dict(db.execute(of_day).fetchall())
        missing = {sid for sid, digest in expected.items() if digest is not None}
        for sid, digest in shown_contents(db, day, largest=largest):
            missing.discard(sid)
            if digest != expected.get(sid):
                wrong.append(sid)
        wrong += sorted(missing)
    return wrong
