"""Erase: take rows out of the archive so that no byte of them is left, and record that it happened.

A mark that it is about to be; one commit without the rows and with the record; then `addons.duckdb` is built afresh,
everything that is not live is removed at once, and the mark last. Until it is gone the erasure counts as unfinished and
can be finished by anybody, so a kill at any point is made good. The archive is had alone meanwhile: see
`warehouse.store.lock`. Not reached are copies that are not under the root (backups, a reader's open file), nor the
blocks of a disk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from warehouse.erasures import fingerprint, identity_of, unfinished
from warehouse.published.publish import publish
from warehouse.schema import ERASURES, TABLES, Table
from warehouse.store import commits
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.damage import reading_errors
from warehouse.store.files import put, storage_errors, sync_folder
from warehouse.store.footers import refuse_any_newer
from warehouse.store.lock import alone, shared
from warehouse.store.names import ASIDE, COMMITS, ERASING, FACTS, OF_ALL, PUBLISHED, Destination, Made, identity
from warehouse.store.strangers import (
    files_under,
    folders_under,
    leftovers,
    published_under,
    remove,
    remove_published,
)

RUN_ID = "erase"


@dataclass(slots=True)
class Selection:
    """What is to be erased: keys by table and file (None: the whole file)."""

    keys: dict[str, dict[str, set[str] | None]] = field(default_factory=dict)
    record: dict[str, str] = field(default_factory=dict)
    """What may not come back: kind by SID."""

    def add(self, table: Table, found: Mapping[str, set[str]]) -> None:
        """More keys of a table, by file."""
        files = self.keys.setdefault(table.name, {})
        for path, keys in found.items():
            before = files.get(path, set())
            files[path] = None if before is None else before | keys

    def rows(self, head: Commit) -> dict[str, int]:
        """How many rows of each table that is."""
        counts = {
            name: sum(head.tables[name][path].keys if keys is None else len(keys) for path, keys in files.items())
            for name, files in self.keys.items()
        }
        return {name: count for name, count in counts.items() if count}


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased: the commit without it, rows by table, and files that were removed from the disk."""

    commit: int
    rows: Mapping[str, int]
    files_removed: int = 0


Choose = Callable[[Snapshot], Selection]


def erase(
    archive: Archive,
    destination: Destination,
    choose: Choose,
    *,
    reason: str,
    now: datetime,
    wait: bool = True,
    dry_run: bool = False,
) -> Erasure | None:
    """Erase what `choose` selects of the newest commit; None when that is nothing, or the archive is in use.

    Args:
        archive: where from.
        destination: what is published without it.
        choose: selects; is called with the archive had alone, or shared for a dry run.
        reason: recorded with it; names nobody.
        now: UTC.
        wait: wait until nobody uses the archive; otherwise None when somebody does.
        dry_run: say what would be erased, and change nothing.

    Raises:
        UpdateProgram: a newer version wrote what is here; nothing was erased.
        RepairWarehouse: a live file is damaged, so nothing could be published afterwards; nothing was erased.
        FixWarehouse: the root cannot be written; what was begun is finished by `finish`.
    """
    with (shared if dry_run else alone)(archive.root, wait=wait) as got:
        if not got:
            return None
        with archive.undone(), reading_errors(archive.root):
            head = archive.head_to_change()
            refuse_any_newer(archive.root, head)
            chosen = choose(Snapshot(archive, head))
            counts = chosen.rows(head)
            if not counts and not chosen.record:
                return None
            if dry_run:
                return Erasure(head.number, counts)
            for file in head.files():
                archive.sound(file)
            drop: list[LiveFile] = []
            add: list[LiveFile] = []
            for name, files in chosen.keys.items():
                for path, keys in files.items():
                    drop.append(head.tables[name][path])
                    if keys is not None and len(keys) < drop[-1].keys:
                        table = TABLES[name]
                        add += archive.rest(table, drop[-1], table.key, pa.array(sorted(keys), pa.string()))
            record = _record(chosen, head.number + 1, sum(counts.values()), reason, now)
            add.append(archive.seal(ERASURES, None, record.to_batches()))
            _mark(archive, head.number + 1)
            after = archive.commit(head, drop=drop, add=add, at=now, run_id=RUN_ID)
        return Erasure(after.number, counts, _finish(archive, destination, now=now))


def finish(archive: Archive, destination: Destination, *, now: datetime, wait: bool = False) -> bool:
    """Finish an erasure that was cut off; False when there is none, or somebody uses the archive.

    Raises:
        RepairWarehouse: a live file is damaged, so `addons.duckdb` cannot be built afresh.
        FixWarehouse: the root cannot be written.
    """
    if not unfinished(archive):
        return False
    with alone(archive.root, wait=wait) as got:
        if got and unfinished(archive):
            archive.head_to_change()
            _finish(archive, destination, now=now)
        return got


def _mark(archive: Archive, commit: int) -> None:
    """Say durably that an erasure is about to be committed."""
    with storage_errors(archive.root):
        put(archive.root, "", ERASING, identity_of(commit).encode(), archive.access)


def _finish(archive: Archive, destination: Destination, *, now: datetime) -> int:
    root = archive.root
    with storage_errors(root):
        # whoever made the commit may have been killed before it was durable; what it replaces is removed now
        sync_folder(root / commits.FOLDER)
    publish(archive, destination, now=now, afresh=True)
    with storage_errors(root):
        removed = _purge(archive)
        (root / ERASING).unlink()
        sync_folder(root)
    return removed


def _purge(archive: Archive) -> int:
    """Remove at once, and durably, whatever is not live; returns how many files that was."""
    head, root = archive.head(), archive.root
    live = {file.path for file in head.files()}
    removed = [
        *leftovers(root, live),
        *(path for path, kind in files_under(root, (ASIDE,)) if kind is Made.ASIDE),
        *(path for path, kind in files_under(root, (FACTS,)) if kind is Made.FACTS and identity(path) == OF_ALL),
        *(f"{COMMITS}/{commits.commit_path(root, n).name}" for n in commits.numbers(root) if n < head.number),
    ]
    for path in removed:
        remove(root / path)
    target = root / PUBLISHED
    shown = str(target.readlink()) if target.is_symlink() else ""  # a copy, where the file system knows no links
    published = [path for path, _ in published_under(root) if path != shown]
    for path in published:
        remove_published(root, path)
    # all of them: whoever removed a file before may have been killed before its folder was synced
    for folder in ("", *folders_under(root)):
        sync_folder(root / folder)
    return len(removed) + len(published)


def _record(chosen: Selection, commit: int, rows: int, reason: str, now: datetime) -> pa.Table:
    """One row for the erasure, and one for each SID that may not come back."""
    facts = {"commit": commit, "erased_at": now}
    whole = {"erasure_id": identity_of(commit), "kind": "erasure", **facts}
    each = [{"erasure_id": fingerprint(sid), "kind": kind, **facts} for sid, kind in sorted(chosen.record.items())]
    return pa.Table.from_pylist([{**whole, "reason": reason, "rows": rows}, *each], schema=ERASURES.schema)
