"""A file that somebody names, written whole and for its owner alone: a reader finds the one before, or this one."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def private_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """A file that gets its name when the block has ended well, and is gone when it has not.

    Raises:
        FileExistsError: something has the name and it may not `replace` that.
        OSError: it cannot be written.
    """
    beside = path.with_name(f".{uuid.uuid4().hex}.tmp")
    handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            beside.replace(path)
        else:
            path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Put a text in place of whatever has the name; raises OSError where that cannot be."""
    with private_file(path, replace=True) as file:
        file.write(text.encode())
