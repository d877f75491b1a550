"""The archive that the settings name: to write to, or only to read."""

from dataclasses import replace

from pipelines.settings import WarehouseSettings
from warehouse.archive import Archive, existing_archive, open_archive
from warehouse.seal import check_sealed, seal_key


def to_write(settings: WarehouseSettings, *, adopting: bool = False) -> Archive:
    """Open or create the archive; with `adopting` also one whose newest commit was made without the key.

    Raises:
        NotSealed: the newest commit was made without the key; nothing is to be built on it.
        WarehouseError: as `open_archive`.
    """
    archive = _with_key(
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
    return _with_key(existing_archive(settings.root, add_on_names=settings.add_on_names), settings)


def _with_key(archive: Archive, settings: WarehouseSettings) -> Archive:
    return replace(archive, seal_key=seal_key(settings.seal_secret)) if settings.seal_secret else archive
