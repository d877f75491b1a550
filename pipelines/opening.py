"""The archive that the settings name: to write to, or only to read."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime

import duckdb

from pipelines.settings import WarehouseSettings
from warehouse.errors import WarehouseError
from warehouse.published.moved import reads_elsewhere
from warehouse.published.publish import publish
from warehouse.store.archive import Archive
from warehouse.store.keys import Keys
from warehouse.store.names import PUBLISHED
from warehouse.store.opening import existing_archive, open_archive
from warehouse.store.seal import check_sealed, seal_key


def to_write(settings: WarehouseSettings, *, adopting: bool = False) -> Archive:
    """Open or create the archive; with `adopting` also one whose newest commit was made without the key.

    Raises:
        NotSealed: the newest commit was made without the key; nothing is to be built on it.
        WarehouseError: as `open_archive`.
    """
    archive = with_key(
        open_archive(
            settings.root,
            shared_read=settings.shared_read,
            add_on_names=settings.add_on_names,
            writers=settings.writers,
        ),
        settings,
    )
    if archive.seal_key is not None and not adopting:
        check_sealed(archive.head(), archive.seal_key)
    return archive


def to_read(settings: WarehouseSettings) -> Archive:
    """The archive for reading only; raises as `existing_archive`."""
    return with_key(existing_archive(settings.root, add_on_names=settings.add_on_names), settings)


def mend_moved(settings: WarehouseSettings) -> None:
    """Publish again what reads the files of another folder; nothing happens where the root cannot be written."""
    path = settings.root.absolute() / PUBLISHED
    if not path.is_file():  # DuckDB waits for whoever writes to a pipe
        return
    try:
        # whoever made the file: before it is known to be ours, it can reach nothing else
        locked: dict[str, str | bool | int | float | list[str]] = {"enable_external_access": False}
        with contextlib.closing(duckdb.connect(str(path), read_only=True, config=locked)) as db:
            if reads_elsewhere(db, settings.root) is None:
                return
            names = dict(db.execute("SELECT add_on_sid, name FROM add_on_names").fetchall())
    except duckdb.Error:
        return  # whoever reads it says what is the matter
    with contextlib.suppress(WarehouseError):
        publish(replace(to_write(settings), add_on_names=names), "parquet", now=datetime.now(UTC))


def with_key(archive: Archive, settings: WarehouseSettings) -> Archive:
    """The archive with the key that commits are sealed with, if one is set."""
    if not settings.seal_secret:
        return archive
    key = seal_key(settings.seal_secret)
    return replace(archive, seal_key=key, keys=Keys(key))
