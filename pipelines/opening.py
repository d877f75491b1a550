"""The archive that the settings name: to write to, or only to read."""

from pipelines.settings import WarehouseSettings
from warehouse.archive import Archive, existing_archive, open_archive


def to_write(settings: WarehouseSettings) -> Archive:
    """Open or create the archive; raises as `open_archive`."""
    return open_archive(
        settings.root,
        shared_read=settings.shared_read,
        add_on_names=settings.add_on_names,
        writers=settings.writers,
    )


def to_read(settings: WarehouseSettings) -> Archive:
    """The archive for reading only; raises as `existing_archive`."""
    return existing_archive(settings.root, shared_read=settings.shared_read, add_on_names=settings.add_on_names)
