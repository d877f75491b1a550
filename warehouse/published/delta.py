"""A Delta log for each table, over the archive's own files: what Spark, Trino, polars and other engines read.

Like `addons.duckdb` it is a projection of one commit: it can be made anew at any time, and the truth does not rest on
it. A version is created only if its number is free, and is synced. Tables are brought up to date one after the other,
what is referred to before what refers to it, so that a reader may see payloads without their result for a moment, and
never a result without its payloads. A checkpoint stands for all versions before it, and they are removed then.
"""

import io
import json
import re
import uuid
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import WarehouseError
from warehouse.published.delta_actions import Log, checkpoint, live_files, next_actions, replayed, schema_string
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, RECORDINGS, TABLES, Table
from warehouse.store.archive import Archive
from warehouse.store.commit import Commit
from warehouse.store.files import put, sync_folder
from warehouse.store.names import DELTA
from warehouse.store.opens import read_bytes

CHECKPOINT_EVERY = 20
"""Versions between two checkpoints: as many small files, at most, are read to know what a table has."""

_LAST = (ADD_ON_PAYLOADS, ADD_ON_RESULTS, RECORDINGS)
"""In the order in which they are shown, after all others."""

_VERSION = re.compile(r"([0-9]{20})\.(?:json|checkpoint\.parquet)")

_POINTER = "_last_checkpoint"


def show_in_delta(archive: Archive, head: Commit, *, afresh: bool = False) -> None:
    """Bring the log of every table up to `head`.

    Args:
        archive: whose tables they are; nobody else publishes it meanwhile.
        head: what is shown.
        afresh: make each log anew of the commit alone, and remove what it said before.

    Raises:
        OSError, Untrusted: a log cannot be written.
    """
    for table in (*(table for table in TABLES.values() if table not in _LAST), *_LAST):
        while not _bring_up(archive, table, head, afresh=afresh):
            pass  # a version of somebody else has taken the number: what is missing now is said by the next


def differences(archive: Archive, head: Commit) -> Iterator[tuple[str, str]]:
    """The tables whose logs do not show `head`: the path of each log, and a sentence."""
    for table in TABLES.values():
        log = read_log(archive, table)
        sizes = {path: file.bytes for path, file in live_files(table, head).items()}
        as_head = log is not None and {path: add["size"] for path, add in log.adds.items()} == sizes
        if log is None or not as_head or log.schema != schema_string(table):
            path = f"{table.name}/{DELTA}"
            what = "is missing or damaged" if log is None or log.version < 0 else f"does not show commit {head.number}"
            yield path, f"The Delta log {path} {what}; run `addon-export rebuild`."


def _bring_up(archive: Archive, table: Table, head: Commit, *, afresh: bool) -> bool:
    """One more version of a log, if it needs one; False when another publisher has taken its number."""
    folder = f"{table.name}/{DELTA}"
    known = read_log(archive, table)
    log = known or Log(max(_versions(archive, table), default=-1))
    actions = next_actions(table, log, head, new_id=str(uuid.uuid4()))
    if actions:
        body = "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions).encode()
        try:
            put(archive.root, folder, f"{log.version + 1:020d}.json", body, archive.access, replace=False)
        except FileExistsError:
            return False
        log = replayed(log, log.version + 1, actions)
    if afresh or known is None or (actions and log.version % CHECKPOINT_EVERY == 0 and log.version):
        rows = checkpoint(table, log, head)
        written = io.BytesIO()
        pq.write_table(rows, written, compression="zstd")
        name = f"{log.version:020d}.checkpoint.parquet"
        put(archive.root, folder, name, written.getvalue(), archive.access)
        pointer = json.dumps({"version": log.version, "size": rows.num_rows}).encode()
        put(archive.root, folder, _POINTER, pointer, archive.access)
        _forget(archive, table, log.version)
    return True


def _versions(archive: Archive, table: Table) -> dict[int, set[str]]:
    """Names of the files of a log by the version that they are of."""
    found: dict[int, set[str]] = {}
    try:
        names = sorted(path.name for path in (archive.root / table.name / DELTA).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for name in names:
        if (version := _VERSION.fullmatch(name)) is not None:
            found.setdefault(int(version[1]), set()).add(name)
    return found


def read_log(archive: Archive, table: Table) -> Log | None:
    """What a log shows now; an empty one where there is none, and None where it cannot be read."""
    versions = _versions(archive, table)
    folder, log = f"{table.name}/{DELTA}", Log()
    points = [version for version, names in versions.items() if any(name.endswith(".parquet") for name in names)]
    try:
        for version in sorted(versions):
            if points and version < points[-1]:
                continue
            if log.version not in (-1, version - 1) or (log.version < 0 and version and version not in points):
                return None  # a version is missing
            if points and version == points[-1]:
                held = read_bytes(archive.root, f"{folder}/{version:020d}.checkpoint.parquet")
                actions = pq.read_table(pa.BufferReader(held)).to_pylist()
            else:
                held = read_bytes(archive.root, f"{folder}/{version:020d}.json")
                actions = [json.loads(line) for line in held.splitlines()]
            log = replayed(log, version, actions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException, WarehouseError):
        return None
    return log if not versions or log.table_id is not None else None


def _forget(archive: Archive, table: Table, version: int) -> None:
    """Remove what a checkpoint stands for, durably."""
    folder = archive.root / table.name / DELTA
    for older, names in _versions(archive, table).items():
        if older < version:
            for name in names:
                (folder / name).unlink(missing_ok=True)
    sync_folder(folder)
