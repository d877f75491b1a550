"""Where contents are between the wire and the archive: small ones in bounded memory, large ones in the spool.

A file of the spool has no name in any folder, so it is gone when it is closed and after a kill. It lies on the
archive's disk and not in the system's temporary folder, which may be memory or too small.
"""

import asyncio
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Protocol, Self, cast

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


class ByteBudget(Protocol):
    """What bounds the bytes of contents held in memory; the caller's, shared by all its requests."""

    async def acquire(self, size: int) -> None:
        """Wait until `size` more bytes may be held.

        Holds nothing when cancelled. Must let through, some time, a size larger than the whole budget.
        """

    def release(self, size: int) -> None:
        """Give `size` bytes back."""


@dataclass(frozen=True, slots=True)
class Content:
    """The exact bytes of a payload, made where they arrive and carried as they are until they are landed.

    Attributes:
        data: the bytes; empty where `file`, of the spool, holds them.
        sha256: of these bytes (hex), taken while they came off the wire.
        content_type: storage's word for it, None when it gave none.
        reserved: bytes that are held in `budget` until `release`.
        encoded_sha256: of the bytes as they came, where those were decoded; else None.
    """

    data: bytes = field(repr=False)
    sha256: str
    content_type: str | None = None
    reserved: int = 0
    file: SpoolFile | None = field(default=None, repr=False)
    encoded_sha256: str | None = None
    budget: ByteBudget | None = field(default=None, repr=False, compare=False)

    @property
    def length(self) -> int:
        """Bytes of the content."""
        return len(self.data) if self.file is None else self.file.length

    def in_memory(self) -> "Content":
        """The same, with the bytes that were in a file."""
        return self if self.file is None else replace(self, data=b"".join(self.file.chunks()), file=None)

    def release(self) -> None:
        """Give back what it holds, memory and disk; whoever has it last does, once."""
        if self.budget is not None:
            self.budget.release(self.reserved)
        if self.file is not None:
            self.file.close()


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
