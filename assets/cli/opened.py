"""The archive for a command: to read, or to write, with what opening it changed or found missing said on stderr."""

from assets.terminal import say
from pipelines.opening import mend_moved, to_read, to_write
from pipelines.settings import WarehouseSettings, environment, warehouse_settings
from warehouse.store.archive import Archive


def open_to_read() -> Archive:
    """What has been exported: also where nothing may be written, or nothing more would fit."""
    settings = warehouse_settings(environment())
    mend_moved(settings)
    return to_read(settings)


def open_and_say(settings: WarehouseSettings) -> Archive:
    """Open or create the archive; raises as `open_archive`."""
    archive = to_write(settings)
    for sentence in archive.notices:
        say(sentence)
    return archive
