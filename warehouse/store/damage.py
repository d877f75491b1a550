"""What it means that something under the root could not be read: damage, or only the disk, its space or the memory."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from warehouse.errors import FixWarehouse, RepairWarehouse, Untrusted
from warehouse.store import commits
from warehouse.store.commit import LiveFile
from warehouse.store.files import cannot, refuse_links, sha256_of
from warehouse.store.limits import limit

DAMAGED = (
    "{} is damaged or missing: it does not have the SHA-256 its commit names; "
    "run `addon-export rebuild --archive` to repair it."
)


_OURS = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException, KeyError)
"""Raised where our own SQL or code is wrong, if no file is."""

_NO_MEMORY = ("failed to allocate", "failed to pin")
"""How DuckDB says it within an error of another kind, such as that of a checkpoint or a transaction."""

_MISSING = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR)


@contextlib.contextmanager
def reading_errors(root: Path) -> Iterator[None]:
    """Turn what DuckDB and Arrow raise about files into what the operator can do about it.

    Raises:
        RepairWarehouse: a live file, or the newest commit, is damaged or missing.
        FixWarehouse: none is, so it is the disk, its space or the memory.
        FixProcess: a limit of the process is reached.
    """
    try:
        yield
    except _OURS as error:
        # a name or a type in a footer may be damaged too, and does not fit our SQL then
        if (path := _first_damaged(root)) is None:
            raise
        raise RepairWarehouse(DAMAGED.format(path)) from error
    except (duckdb.Error, pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, *_MISSING):
            raise cannot("read", root, error) from error
        if no_memory(error):
            raise FixWarehouse(f"DuckDB has too little memory for what is under {root}; no file is damaged.") from error
        if (reached := limit(error, root)) is not None:
            raise reached from error
        if "No space left" in str(error):
            raise FixWarehouse(f"No space left under {root}; free some and run again.") from error
        if (path := _first_damaged(root)) is not None:
            raise RepairWarehouse(DAMAGED.format(path)) from error
        # the files decide, not the words: DuckDB has many for a log it cannot write
        raise FixWarehouse(
            f"Cannot read or write under {root}, though no live file is damaged: the disk fails; "
            "check EXPORT_ROOT and run again."
        ) from error


def no_memory(error: Exception) -> bool:
    """Whether DuckDB, or Arrow, says that it has too little memory."""
    return isinstance(error, duckdb.OutOfMemoryException) or any(words in str(error) for words in _NO_MEMORY)


def fault(root: Path, file: LiveFile) -> str | None:
    """How a live file differs from what was committed, as a sentence; None when it is sound.

    Raises:
        OSError: it cannot be read.
        Untrusted: it is a link.
    """
    refuse_links(root, file.path)
    path = root / file.path
    if (size := path.stat().st_size) != file.bytes:
        return f"{file.path} has {size} bytes, not {file.bytes}."
    if sha256_of(path) != file.sha256:
        return f"{file.path} does not have the SHA-256 its commit names."
    return None


def is_sound(root: Path, file: LiveFile) -> bool:
    """Whether a live file has the bytes its commit names."""
    try:
        return fault(root, file) is None
    except (OSError, Untrusted):
        return False


def _first_damaged(root: Path) -> str | None:
    """A live file that is not what was committed; reads them all, which only happens once something has failed."""
    for table in commits.head(root).tables.values():
        for file in table.values():
            try:
                if fault(root, file) is not None:
                    return file.path
            except Untrusted:
                return file.path
            except OSError as error:
                if error.errno not in _MISSING:
                    raise cannot("read", root / file.path, error) from error
                return file.path
    return None
