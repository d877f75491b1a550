"""What is known of sealed files, so that most of them are not read again: numbers, and which files still owe something.

A result that is exported or deleted at Twilio stays so, and most are. So what has become of them is counted once, when
their file is new; only files that hold something open are read each time, by the SQL that would read all of them. The
clock has no part in what is known. An answer is the same, and as new, as if everything had been read.

What was damaged since is found by whoever reads the file: `verify`, the checks a part at a time, and every landing into
it. A file that is missing, or was written to, is known no longer.
"""

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, KNOWN_STATUSES, RECORDINGS, Table, quote
from warehouse.store import facts
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.commit import Files, LiveFile
from warehouse.store.facts import FileFacts
from warehouse.store.footers import check_rows
from warehouse.store.names import OF_ALL
from warehouse.store.sealed import partition_day

_STATUSES = ", ".join(map(quote, KNOWN_STATUSES))

_LOADS = "coalesce(list(DISTINCT load_id) FILTER (load_id IS NOT NULL), []) AS loads"

_NUMBERS: Mapping[str, str] = {
    RECORDINGS.name: """
        count(*) FILTER (listed_at IS NULL OR date_created IS NULL OR open_results > 0) AS unsettled,
        min(epoch_us(listed_at) - epoch_us(date_created)) AS soonest_us, max(epoch_us(listed_at)) AS latest_us
    """,
    ADD_ON_RESULTS.name: f"""
        count(*) FILTER (deleted_at IS NOT NULL) AS deleted,
        count(*) FILTER (deleted_at IS NULL AND exported_at IS NOT NULL) AS exported,
        count(*) FILTER (deleted_at IS NULL AND exported_at IS NULL) AS open,
        count(*) FILTER (status IS NULL OR status NOT IN ({_STATUSES})) AS unknown, {_LOADS}
    """,
    ADD_ON_PAYLOADS.name: f"""
        count(*) FILTER (content_sha256 IS NULL) AS missing, count(content_length) AS contents,
        coalesce(sum(content_length), 0)::BIGINT AS content_bytes, {_LOADS}
    """,
}
"""What is counted of each file, under the names of `FileFacts`."""

_LOOKED_UP = (
    (RECORDINGS, "sid"),
    (ADD_ON_RESULTS, "sid"),
    (ADD_ON_RESULTS, "reference_sid"),
    (ADD_ON_PAYLOADS, "sid"),
    (ADD_ON_PAYLOADS, "add_on_result_sid"),
    (ADD_ON_PAYLOADS, "reference_sid"),
    (CONTENTS, "payload_sid"),
)
"""Columns by which an export, a landing and the checks look rows up."""


@dataclass(frozen=True, slots=True)
class Owing:
    """The files that must be read to say what has become of every result, and numbers of the others.

    Attributes:
        results: files with a result that is neither exported nor deleted, or one of the payloads below.
        payloads: files with a payload that has no content, and `orphaned`.
        orphaned: files with a payload whose result is in no file of its day.
        settled: results of the other files that are "exported" and "deleted", by day.
    """

    results: Sequence[LiveFile]
    payloads: Sequence[LiveFile]
    orphaned: Sequence[LiveFile]
    settled: Mapping[date | None, Mapping[str, int]]


def owing(snapshot: Snapshot, results: Iterable[LiveFile], payloads: Iterable[LiveFile]) -> Owing:
    """Which of these files of results and payloads must be read.

    Raises:
        OSError, ArrowException, duckdb.Error: a file is missing or damaged; see `reading_errors`.
    """
    results, payloads = list(results), list(payloads)
    of_results, of_payloads = known(snapshot, ADD_ON_RESULTS, results), known(snapshot, ADD_ON_PAYLOADS, payloads)
    orphaned = _orphaned(snapshot, results, of_payloads, payloads)
    without = {file.path for file in orphaned}
    lacking = [file for file in payloads if of_payloads[file.path].missing or file.path in without]
    sids = {sid for file in lacking for sid in _results_of(snapshot.archive, file, every=file.path in without)}
    there = snapshot.archive.keys.holding(
        snapshot.archive.root, _by_path(results), ADD_ON_RESULTS.key, pa.array(sorted(sids), pa.string())
    )
    read = [file for file in results if of_results[file.path].open or file.path in there]
    settled: dict[date | None, dict[str, int]] = {}
    for file in results:
        if not (of_results[file.path].open or file.path in there):
            counts = settled.setdefault(partition_day(file), {"exported": 0, "deleted": 0})
            counts["exported"] += of_results[file.path].exported
            counts["deleted"] += of_results[file.path].deleted
    return Owing(read, lacking, orphaned, settled)


def owing_of(snapshot: Snapshot, days: Collection[date | None] | None = None) -> Owing:
    """The same of all live files, or of some partitions."""
    return owing(snapshot, snapshot.files(ADD_ON_RESULTS, days), snapshot.files(ADD_ON_PAYLOADS, days))


def known(snapshot: Snapshot, table: Table, files: Iterable[LiveFile]) -> Mapping[str, FileFacts]:
    """What is known of files of a table, by path; those that nothing is known of are read.

    Raises:
        OSError, ArrowException, duckdb.Error: a file is missing or damaged; see `reading_errors`.
    """
    archive, files = snapshot.archive, list(files)
    found = {file.path: of_file for file in files if (of_file := archive.facts.get(file.path)) is not None}
    for look in (_kept, _counted):
        if lacking := [file for file in files if file.path not in found]:
            new = look(archive, table, lacking)
            found |= new
            archive.facts.update(new)
    return found


def all_apart(snapshot: Snapshot, table: Table) -> bool:
    """Whether no key of a table is landed twice; False: perhaps one is.

    Raises:
        OSError, ArrowException, duckdb.Error: a file is missing or damaged; see `reading_errors`.
    """
    archive, files = snapshot.archive, snapshot.commit.tables[table.name]
    of_files = known(snapshot, table, files.values())
    apart = {path for path, of_file in of_files.items() if of_file.apart}
    if len(apart) == len(files):
        return True
    if not archive.keys.distinct(archive.root, files, table.key, known=apart):
        return False
    archive.facts.update({path: replace(of_files[path], apart=True) for path in of_files.keys() - apart})
    return True


def keep(snapshot: Snapshot) -> None:
    """Work out what is not known yet of any live file, and keep all of it for processes to come.

    Damage is not its business: of a table with a damaged file no more is kept than there is.
    """
    archive, commit = snapshot.archive, snapshot.commit
    unreadable = (OSError, pa.ArrowException, duckdb.Error, KeyError, UnicodeDecodeError)
    with contextlib.suppress(*unreadable):
        owing_of(snapshot)
    for table in (RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS):
        with contextlib.suppress(*unreadable):
            all_apart(snapshot, table)
            _keep(archive, table, commit.tables[table.name])
    for table, column in _LOOKED_UP:
        with contextlib.suppress(*unreadable):
            archive.keys.keep(archive.root, commit.tables[table.name], column, access=archive.access)


def _counted(archive: Archive, table: Table, files: Sequence[LiveFile]) -> dict[str, FileFacts]:
    """Facts of files, from one reading of all of them."""
    relation = archive.relation(table, [file.path for file in files], filename=True)
    with archive.database() as db:
        cursor = db.execute(f"SELECT filename, count(*) AS rows, {_NUMBERS[table.name]} FROM {relation} GROUP BY ALL")
        names = [column[0] for column in cursor.description or ()][1:]
        found = {path: dict(zip(names, numbers, strict=True)) for path, *numbers in cursor.fetchall()}
    counted = {}
    for file in files:
        numbers = found.get(str(archive.root / file.path), {"rows": 0})
        check_rows(file, numbers["rows"])
        counted[file.path] = FileFacts(**{**numbers, "loads": tuple(sorted(numbers.get("loads", ())))})
    return counted


def _orphaned(
    snapshot: Snapshot, results: Sequence[LiveFile], of_payloads: Mapping[str, FileFacts], payloads: Sequence[LiveFile]
) -> list[LiveFile]:
    """Files with a payload whose result is in none of `results` of its day."""
    days: dict[date | None, dict[str, LiveFile]] = {}
    for file in results:
        days.setdefault(partition_day(file), {})[file.path] = file
    orphaned = []
    for file in payloads:
        there = days.get(partition_day(file), {})
        of_file = of_payloads[file.path]
        if of_file.vouchers is None or not there.keys() >= {*of_file.vouchers}:
            of_file = replace(of_file, vouchers=_vouchers(snapshot.archive, file, there))
            snapshot.archive.facts[file.path] = of_file
        if of_file.vouchers is None:
            orphaned.append(file)
    return orphaned


def _vouchers(archive: Archive, file: LiveFile, results: Files) -> tuple[str, ...] | None:
    """The files among `results` that hold the results of a file of payloads; None when one of these is in none."""
    found: set[str] = set()
    for batch in archive.read(file, ADD_ON_PAYLOADS, ["add_on_result_sid"]):
        wanted = pc.unique(batch["add_on_result_sid"])
        held = archive.keys.holding(archive.root, results, ADD_ON_RESULTS.key, wanted.drop_null())
        if wanted.null_count or len(set[str]().union(*held.values())) < len(wanted):
            return None
        found |= held.keys()
    return tuple(sorted(found))


def _results_of(archive: Archive, file: LiveFile, *, every: bool) -> Iterator[str]:
    """Results of the payloads in a file: of `every` one, or of those without a content."""
    for batch in archive.read(file, ADD_ON_PAYLOADS, ["add_on_result_sid", "content_sha256"]):
        rows = batch if every else batch.filter(pc.is_null(batch["content_sha256"]))
        yield from rows["add_on_result_sid"].drop_null().to_pylist()


def _by_path(files: Iterable[LiveFile]) -> Files:
    return {file.path: file for file in files}


# On the disk


def _about(table: Table) -> str:
    return f"{table.name} {_NUMBERS[table.name]} {[field.name for field in fields(FileFacts)]}"


def _kept(archive: Archive, table: Table, files: Sequence[LiveFile]) -> dict[str, FileFacts]:
    """What the disk says of `files` as they are now."""
    says = facts.recall(archive.root, f"{OF_ALL}.{table.name}", _about(table), archive.seal_key)
    found = {} if says is None else json.loads(says)
    kept = {}
    for file in files:
        if file.path in found and found[file.path].pop("state") == facts.state_of(archive.root, file):
            of_file = found[file.path]
            vouchers = None if of_file["vouchers"] is None else tuple(of_file["vouchers"])
            kept[file.path] = FileFacts(**{**of_file, "loads": tuple(of_file["loads"]), "vouchers": vouchers})
    return kept


def _keep(archive: Archive, table: Table, files: Files) -> None:
    """Keep what is known of the live files of a table, unless the disk has that."""
    name, about = f"{OF_ALL}.{table.name}", _about(table)
    known = {
        path: {"state": state, **asdict(archive.facts[path])}
        for path, file in sorted(files.items())
        if path in archive.facts and (state := facts.state_of(archive.root, file)) is not None
    }
    says = json.dumps(known, separators=(",", ":")).encode()
    if says != facts.recall(archive.root, name, about, archive.seal_key):
        facts.keep(archive.root, name, about, says, access=archive.access, key=archive.seal_key)
