"""Open the archive at a root: to write, after all that could be in the way was looked at, or only to read."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from warehouse.errors import FixWarehouse, RepairWarehouse
from warehouse.store import commits
from warehouse.store.abilities import missing
from warehouse.store.archive import Archive, writable
from warehouse.store.commits import FOLDER
from warehouse.store.files import ACCESS, cannot, make_root, storage_errors, unnamed
from warehouse.store.lock import make_lock
from warehouse.store.marker import read_marker, update_marker
from warehouse.store.names import ARCHIVE_LOCK
from warehouse.store.root import check_root
from warehouse.store.sharing import follow, sharing
from warehouse.store.strangers import refuse_others
from warehouse.store.trust import NOBODY_ELSE, Writers


def open_archive(
    root: Path,
    *,
    shared_read: str | None = None,
    add_on_names: Mapping[str, str] = MappingProxyType({}),
    writers: Writers = NOBODY_ELSE,
) -> Archive:
    """Open or create the archive at `root` and prove that it can be written.

    Who may read it (`shared_read`: "none", "group" or "all") is as it is unless it is given; then all that is there
    follows.

    Raises:
        Untrusted: somebody else made it, may change it, or put a link in it.
        FixWarehouse: the folder cannot be made or written.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100  # resolve() would follow links out of the chosen folder
    if set("*?[]=") & set(str(root)):
        # DuckDB expands wildcards, and takes `name=value` folders for partitions, anywhere in a path
        raise FixWarehouse(f"EXPORT_ROOT {root} holds one of * ? [ ] = in its path; choose another folder.")
    with storage_errors(root):
        check_root(root, writers)
        shared_by = sharing(root, shared_read)
        access = replace(ACCESS[shared_by], writers=writers)
        archive = Archive(root, access, add_on_names=dict(add_on_names))
        _refuse(root)
        make_root(root, archive.access)
        with unnamed(root, FOLDER, archive.access) as (stream, file):
            stream.write(b"writable?")
            lacking = missing(file.folder, file.name)
        make_lock(root, ARCHIVE_LOCK, archive.access)
    _mark(archive)
    with storage_errors(root):
        said = follow(archive, shared_by)
    return replace(archive, notices=(*lacking, *([said] if said else ())))


def _refuse(root: Path) -> None:
    """Refuse a root that others use, or that a newer version has written to, before anything is written there.

    A damaged commit or marker is left to whoever needs it.
    """
    refuse_others(root)
    with contextlib.suppress(RepairWarehouse):
        writable(root, commits.head(root))


def _mark(archive: Archive) -> None:
    """Make the root ours, if it has no marker that says so."""
    committed = bool(commits.numbers(archive.root))
    with contextlib.suppress(RepairWarehouse):  # of a damaged one, which is left as it is
        marker = read_marker(archive.root)
        if marker is None or (committed and not marker.committed):
            update_marker(archive, lambda found: replace(found, committed=found.committed or committed))


def existing_archive(root: Path, *, add_on_names: Mapping[str, str] = MappingProxyType({})) -> Archive:
    """The archive at `root` for reading only: nothing is made or tried out there.

    Raises:
        FixWarehouse: there is none.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100  # as open_archive does
    try:
        there = (root / FOLDER).is_dir()
        if there:
            os.listdir(root / FOLDER)  # noqa: PTH208  # a listing is all that is wanted
    except OSError as error:
        raise cannot("read", root, error) from error
    if not there:
        raise FixWarehouse(f"Nothing has been exported to {root}; check EXPORT_ROOT.")
    with contextlib.suppress(RepairWarehouse):  # `verify` says it; the commits decide what can be read
        read_marker(root)
    return Archive(root, ACCESS["none"], add_on_names=dict(add_on_names))
