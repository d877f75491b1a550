"""What is published now: what it shows, whether it is as it was published, and its contents read back."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import duckdb

from warehouse.errors import Untrusted
from warehouse.pieces import PART_BYTES, PIECES, hashed
from warehouse.store.archive import Archive
from warehouse.store.files import sha256_of
from warehouse.store.names import PUBLISH_LOCK, PUBLISHED, Made, published_sha256
from warehouse.store.opens import read_bytes
from warehouse.store.strangers import published_under


@dataclass(frozen=True, slots=True)
class Published:
    """What the published file shows; `committed_at` tells commits of different histories apart."""

    commit: int
    committed_at: datetime
    destination: str
    layout: int
    definitions: str = ""
    """Fingerprint of the views and names in the file."""


def published(archive: Archive) -> Published | None:
    """What the published file shows; None when there is none or it cannot be opened."""
    if not (archive.root / PUBLISHED).is_file():  # DuckDB waits for whoever writes to a pipe
        return None
    try:
        with contextlib.closing(duckdb.connect(str(archive.root / PUBLISHED), read_only=True)) as db:
            db.execute("SET TimeZone = 'UTC'")
            found = db.execute("SELECT number, committed_at, destination, layout, definitions FROM _commit").fetchall()
    except (duckdb.Error, OSError, ValueError, OverflowError):  # damaged values need not be valid ones
        return None
    return Published(*found[0]) if found else None


def why_unopened(path: Path) -> str:
    """Why a published file cannot be opened, and what to do: the end of a sentence.

    DuckDB lets nobody in beside a program that may write. Another file can be published all the same.
    """
    try:
        if path.is_file():
            duckdb.connect(str(path), read_only=True).close()
    except duckdb.Error as error:
        if "set lock" in str(error):
            return (
                "is open in another program that may write to it; close it there, or run `addon-export rebuild`, "
                "which publishes another file in its place"
            )
    return "cannot be opened; run `addon-export rebuild`"


def stray_logs(root: Path) -> list[Path]:
    """Logs beside published files. None of ours has one, and DuckDB shows to every reader what stands in it.

    Whoever may run SQL as the owner of the file can make one: DuckDB 2.0 lets `COPY ... TO` write to the names of the
    logs of an open file, also without external access.
    """
    return [root / path for path, kind in published_under(root) if kind is Made.LOG]


def untouched(archive: Archive) -> bool:
    """Whether the published file has the bytes it was published with: nobody has written to it since."""
    return intact(archive) is not None


def unchanged(archive: Archive) -> bool:
    """Whether what `addons.duckdb` shows has its bytes; also true of a plain copy of it, as backups make."""
    target = archive.root / PUBLISHED
    try:
        return sha256_of(target) in digests(archive.root) if not target.is_symlink() else intact(archive) is not None
    except OSError:
        return False


def digests(root: Path) -> set[str]:
    """The SHA-256 of published files.

    They have it in their names, also those that a plain copy of `addons.duckdb` lies beside; older versions wrote it
    into the lock.
    """
    named = {sha256 for path, _ in published_under(root) if (sha256 := published_sha256(path)) is not None}
    with contextlib.suppress(OSError, Untrusted, UnicodeDecodeError):
        named.add(read_bytes(root, PUBLISH_LOCK).decode())
    return named


def intact(archive: Archive) -> Path | None:
    """The file that `addons.duckdb` links to, if it is one of ours and has the SHA-256 in its name; None otherwise."""
    target = archive.root / PUBLISHED
    try:
        path = str(target.readlink())
        file = archive.root / path
        followed = file.resolve() != archive.root.resolve() / path  # a link of somebody else, below the root
        return None if followed or sha256_of(file) != published_sha256(path) else file
    except OSError:
        return None  # there is none, or not one that was published


def limit_memory(db: duckdb.DuckDBPyConnection) -> int:
    """Let DuckDB have what reading the published contents takes, and return the bytes of the largest whole one."""
    largest, chunks = db.execute(
        "SELECT coalesce(max(content_length), 0), (SELECT count(*) FROM _contents.chunks) FROM add_on_payloads "
        "WHERE sid NOT IN (SELECT payload_sid FROM _contents.chunks)"
    ).fetchall()[0]
    # of chunks DuckDB holds those of a whole inner table at once, however few rows are asked for
    db.execute(f"SET memory_limit = '{32 + 4 * (largest >> 20) + (2 * (PART_BYTES >> 20) if chunks else 0)}MB'")
    return int(largest)


def shown_contents(db: duckdb.DuckDBPyConnection, day: date | None, *, largest: int) -> Iterator[tuple[str, str]]:
    """SID and SHA-256 (hex) of each content that the published file shows for one partition, read in pieces."""
    at_once = {"whole": max(1, min(2048, (8 << 20) // (largest + 1))), "chunks": 1}
    for name, rows in at_once.items():
        sql = f"SELECT {', '.join(PIECES)} FROM _contents.{name} WHERE content IS NOT NULL AND {on(day)}"
        for sid, digest, _ in hashed(db.sql(sql).to_arrow_reader(rows)):
            yield sid, digest


def on(day: date | None) -> str:
    """SQL for whether a row is in a partition."""
    return "completed_date IS NULL" if day is None else f"completed_date = DATE '{day}'"
