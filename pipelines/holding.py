"""Where contents are between the wire and the archive: small ones in bounded memory, large ones in the spool.

A file of the spool has no name in any folder, so it is gone when it is closed and after a kill. It lies on the
archive's disk and not in the system's temporary folder, which may be memory or too small.
"""

import asyncio
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self, cast

from warehouse.store.files import storage_errors

_READ_BYTES = 1 << 20


class SpoolFile:
    """One content on disk, written once from beginning to end.

    Attributes:
        file: open for reading and writing.
        length: bytes written so far.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.length = 0
        with storage_errors(folder):
            self.file = cast("BinaryIO", tempfile.TemporaryFile(dir=folder))  # noqa: SIM115  # closed by `close`

    def write(self, data: bytes) -> None:
        """Append `data`; raises FixWarehouse when the disk does not take it."""
        with storage_errors(self._folder):
            self.file.write(data)
        self.length += len(data)

    def chunks(self) -> Iterator[bytes]:
        """All bytes from the beginning, in pieces of 1 MB."""
        with storage_errors(self._folder):
            self.file.seek(0)
            while chunk := self.file.read(_READ_BYTES):
                yield chunk

    @property
    def closed(self) -> bool:
        """Whether the content is gone."""
        return self.file.closed

    def close(self) -> None:
        """Give the disk space back."""
        self.file.close()


class Budget:
    """Bytes that may be held in memory, first come, first served.

    A size above the whole budget is let through when nothing else is held.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for bytes to be released."""
        return bool(self._waiting)

    async def acquire(self, size: int) -> None:
        """Wait until `size` more bytes may be held; holds nothing when cancelled."""
        if not self._waiting and self._fits(size):
            self._held += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(size)
            else:
                self._waiting.remove((size, turn))
                self._wake()
            raise

    def release(self, size: int) -> None:
        """Give `size` bytes back."""
        self._held -= size
        self._wake()

    def _fits(self, size: int) -> bool:
        return self._held == 0 or self._held + size <= self._total

    def _wake(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            self._held += size
            turn.set_result(None)


class Holding(Budget):
    """Contents fetched and not landed yet: a budget of bytes in memory, and a spool.

    As a context manager it closes, at its end, the files that nobody has closed.
    """

    def __init__(self, total: int, folder: Path) -> None:
        super().__init__(total)
        self._folder = folder
        self._files: set[SpoolFile] = set()

    def open(self) -> SpoolFile:
        """Return an empty file; raises FixWarehouse when the folder cannot be written."""
        self._files = {file for file in self._files if not file.closed}
        file = SpoolFile(self._folder)
        self._files.add(file)
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()
