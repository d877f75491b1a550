"""Copies that people made under EXPORT_ROOT of what is erased: they survive an erasure, so they are named.

A file that is not ours is looked into, as bytes, for SIDs that are known to be erased. Parquet is compressed, so it is
read.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.erasures import Erased, read_erased
from warehouse.store.archive import Archive
from warehouse.store.strangers import strangers

MOST_BYTES = 64 << 20
"""Of a file that is looked into."""

_COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")


@dataclass(frozen=True, slots=True)
class Copies:
    """Paths, relative to the root, of files of others: those that hold an erased SID, and those not looked into."""

    holding: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def copies_of_erased(archive: Archive) -> Copies:
    """Look through the files under the root that are not ours.

    Raises:
        OSError, ArrowException: a file of `erasures` is missing or damaged.
    """
    erased = read_erased(archive.newest())
    if not erased.fingerprints:
        return Copies()
    found = [(path, _holds(archive.root / path, erased)) for path in strangers(archive.root)]
    return Copies(tuple(path for path, holds in found if holds), tuple(path for path, holds in found if holds is None))


def _holds(path: Path, erased: Erased) -> bool | None:
    """Whether a file holds an erased SID; None where that cannot be told."""
    if not path.is_file() or path.is_symlink():
        return False
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        data = path.read_bytes()
        if data[:4] == b"PAR1":
            return any(erased.mentioned(part) for part in _values(path))
        unclear = data.startswith(_COMPRESSED) or data[8:12] == b"DUCK"
        return erased.mentioned(data) or (None if unclear else False)
    except (OSError, pa.ArrowException):
        return None


def _values(path: Path) -> Iterator[bytes]:
    with pq.ParquetFile(path) as reader:
        for batch in reader.iter_batches(batch_size=1024):
            for column in batch.columns:
                yield os.fsencode("\n".join(str(value) for value in column.to_pylist() if value is not None))
