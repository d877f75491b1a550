"""The archive for a command that writes: opened, and what opening it changed or found missing said once on stderr."""

from typing import TYPE_CHECKING

from assets.terminal import say

if TYPE_CHECKING:
    from pipelines.settings import WarehouseSettings
    from warehouse.store.archive import Archive


def open_and_say(settings: "WarehouseSettings") -> "Archive":
    """Open or create the archive; raises as `open_archive`."""
    from pipelines.opening import to_write

    archive = to_write(settings)
    for sentence in archive.notices:
        say(sentence)
    return archive
