"""Made-up rows in the warehouse's schemas, and what an archive holds as plain values.

`logical` reads the commit file and the Parquet files with pyarrow alone, so it can judge the product's own SQL.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.records.charsets import as_text
from warehouse.land import Load, land
from warehouse.quarantine import QuarantineRow, quarantine_rows
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, LOADS, QUARANTINE, RECORDINGS, TABLES, Table
from warehouse.store.archive import Archive

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

Values = dict[str, Any]
Row = tuple[Table, Values]
"""A row and the table it belongs to."""


def later(hours: float) -> datetime:
    """`hours` after noon of the made-up day."""
    return NOON + timedelta(hours=hours)


def day_of(at: datetime | None) -> date | None:
    """The partition of a time in UTC."""
    return None if at is None else at.date()


def sid(kind: str, number: int) -> str:
    """A SID: two letters and 32 hexadecimal digits."""
    return f"{kind}{number:032x}"


def recording(number: int, *, at: datetime = NOON, **values: object) -> Row:
    """A listed recording with nothing open."""
    return RECORDINGS, {
        "sid": sid("RE", number),
        "account_sid": sid("AC", 0),
        "status": "completed",
        "date_created": NOON,
        "created_date": NOON.date(),
        "soft_deleted": False,
        "listed_at": at,
        "open_results": 0,
        "observed_at": at,
        "first_seen_at": at,
        **values,
    }


def result(number: int, *, at: datetime = NOON, done: datetime | None = NOON, **values: object) -> Row:
    """An add-on result of the recording with the same number."""
    return ADD_ON_RESULTS, {
        "sid": sid("XR", number),
        "account_sid": sid("AC", 0),
        "reference_sid": sid("RE", number),
        "status": "completed" if done else "in-progress",
        "date_created": NOON,
        "date_completed": done,
        "completed_date": day_of(done),
        "expires_at": NOON + timedelta(days=30),
        "observed_at": at,
        "first_seen_at": at,
        "raw": "{}",
        **values,
    }


def payload(
    number: int,
    *,
    of: int | None = None,
    data: bytes | None = None,
    at: datetime = NOON,
    done: datetime | None = NOON,
    **values: object,
) -> Row:
    """A payload of result `of` (the same number unless given), with the facts of its content if that came too."""
    parent = number if of is None else of
    return ADD_ON_PAYLOADS, {
        "sid": sid("XH", number),
        "add_on_result_sid": sid("XR", parent),
        "reference_sid": sid("RE", parent),
        "account_sid": sid("AC", 0),
        "content_type": "text/plain",
        "completed_date": day_of(done),
        "content_length": None if data is None else len(data),
        "content_sha256": None if data is None else hashlib.sha256(data).hexdigest(),
        "fetched_at": None if data is None else NOON,
        "observed_at": at,
        "raw": "{}",
        **values,
    }


def content(
    number: int, data: bytes, *, done: datetime | None = NOON, is_text: bool = False, text: str | None = None
) -> Row:
    """The bytes of a payload."""
    return CONTENTS, {
        "payload_sid": sid("XH", number),
        "completed_date": day_of(done),
        "content": data,
        "is_text": is_text,
        "text": text,
    }


def held(number: int, data: bytes, kind: str = "text/plain", *, done: datetime | None = NOON) -> Row:
    """A content as normalising makes it of its type."""
    is_text, text = as_text(kind, data)
    return content(number, data, done=done, is_text=is_text, text=text)


def as_read(data: bytes) -> str | None:
    """Bytes said to be text, in UTF-8 unless they begin with another mark."""
    is_text, other = as_text("text/plain", data)
    return data.decode().lstrip("\ufeff") if is_text else other


def whole(
    number: int, data: bytes = b"made up", *, at: datetime = NOON, done: datetime | None = NOON, is_text: bool = False
) -> list[Row]:
    """A recording with one result, its payload and its content, all exported."""
    return [
        recording(number, at=at),
        result(number, at=at, done=done, payload_count=1, exported_at=at),
        payload(number, data=data, at=at, done=done),
        content(number, data, done=done, is_text=is_text),
    ]


def batch(rows: Iterable[Row]) -> Mapping[str, pa.Table]:
    """Rows as `land` takes them."""
    by_table: dict[str, list[Values]] = {table.name: [] for table in (*_OBSERVED, QUARANTINE)}
    for table, values in rows:
        by_table[table.name].append(values)
    return {name: pa.Table.from_pylist(given, schema=TABLES[name].schema) for name, given in by_table.items()}


_OBSERVED = (RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS, CONTENTS)


def bad(reason: str, raw: bytes | None = b"?") -> Mapping[str, pa.Table]:
    """A batch of one quarantine row."""
    return {QUARANTINE.name: quarantine_rows([QuarantineRow("payload", None, None, None, reason, raw)], now=NOON)}


def land_rows(archive: Archive, rows: Iterable[Row], *, now: datetime | None = None) -> Load:
    """Land rows as one batch: at noon, or when the last of them or of those before was observed."""
    given = list(rows)
    observed = [values["observed_at"] for _, values in given if values.get("observed_at")]
    return land(archive, batch(given), run_id="test", now=now or max([NOON, archive.head().at, *observed]))


def logical(archive: Archive, *, without: Iterable[str] = ("load_id",)) -> dict[str, list[Values]]:
    """Every row of every table, sorted by key, read without the product's SQL.

    Loads are left out while `load_id` is: they differ from landing to landing by their nature.
    """
    commit_files = sorted((archive.root / "_commits").glob("[0-9]*.json"))
    live = json.loads(commit_files[-1].read_bytes())["tables"] if commit_files else {}
    hidden = {*without}
    tables: dict[str, list[Values]] = {}
    for table in TABLES.values():
        if table is LOADS and table.key in hidden:
            continue
        rows = [row for path in live.get(table.name, {}) for row in _rows_of(archive.root / path, table)]
        rows.sort(key=lambda row: str(row[table.key]))
        tables[table.name] = [{name: row.get(name) for name in table.names if name not in hidden} for row in rows]
    return tables


def _rows_of(path: Path, table: Table) -> list[Values]:
    rows: list[Values] = pq.read_table(path, partitioning=None, page_checksum_verification=True).to_pylist()
    if table.partition is not None:
        text = path.parent.name.removeprefix(f"{table.partition}=")
        day = None if text == "__HIVE_DEFAULT_PARTITION__" else date.fromisoformat(text)
        for row in rows:
            row[table.partition] = day
    return rows


def rows_by_key(archive: Archive, table: Table) -> dict[str, Values]:
    """The rows of one table by key; fails when a key is there twice."""
    rows = logical(archive, without=())[table.name]
    by_key = {str(row[table.key]): row for row in rows}
    assert len(by_key) == len(rows), f"{table.name} holds a key twice"
    return by_key


def live_files(archive: Archive) -> set[str]:
    """Paths of all live files, relative to the root."""
    return {path for files in archive.head().tables.values() for path in files}


def path_of(handle: int) -> str:
    """The path an open file descriptor was opened by (or has been renamed to)."""
    return str(Path(f"/proc/self/fd/{handle}").readlink())


def leftovers(root: Path) -> set[str]:
    """Dot-names under the root that are neither a lock nor a published file that `addons.duckdb` links to."""
    shown = (root / "addons.duckdb").resolve()

    def belongs(path: Path) -> bool:
        published = (
            path.parent == shown.parent and path.suffix == shown.suffix and (root / "addons.duckdb").is_symlink()
        )
        return path.name in (".publish.lock", ".archive.lock") or published or path in shown.parents

    return {path.relative_to(root).as_posix() for path in root.rglob(".*") if not belongs(path)}
