"""Which live files hold given keys, without reading them all again.

Sealed files are immutable, so a 64-bit hash of each value is remembered from the first reading on: 8 bytes a value.
Files are read with page checksums, which DuckDB does not check (a damaged key would land its row a second time), and
must give the rows they were committed with, since no checksum protects the footer. A hit among the hashes is settled by
the file itself.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from threading import Lock

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.schema import TABLES
from warehouse.store.commit import Files, LiveFile
from warehouse.store.footers import check_rows

HASHED_AT_ONCE = 200_000
"""Values; a call of DuckDB for each of many small files would cost more than the hashing."""


class Keys:
    """Remembers hashes of columns of sealed files by path. May be used by several threads."""

    def __init__(self) -> None:
        self._hashes: dict[tuple[str, str], pa.Array] = {}
        self._lock = Lock()
        self._db: duckdb.DuckDBPyConnection | None = None

    def __reduce__(self) -> tuple[type["Keys"], tuple[()]]:
        return Keys, ()  # another process remembers for itself

    def holding(self, root: Path, files: Files, column: str, values: pa.Array) -> dict[str, set[str]]:
        """Which of `values` are in `column`, by the path of the file that holds them; files without any are left out.

        Raises:
            OSError, ArrowException, KeyError: a file is missing or damaged; `reading_errors` makes a sentence of it.
        """
        paths = sorted(files)
        if not paths or not len(values):
            return {}
        with self._lock:
            self._remember(root, [files[path] for path in paths if (path, column) not in self._hashes], column)
            hashes = [self._hashes[path, column] for path in paths]
            (wanted,) = self._hash([values])
        ends = list(accumulate(map(len, hashes)))
        hits = pc.indices_nonzero(pc.is_in(pa.chunked_array(hashes, pa.uint64()), value_set=wanted)).to_pylist()
        found = {}
        for path in {paths[bisect_right(ends, hit)] for hit in hits}:
            there = _read(root, files[path], column)
            if exact := there.filter(pc.is_in(there, value_set=values)).to_pylist():
                found[path] = set(exact)
        return found

    def forget_all_but(self, live: Iterable[str]) -> None:
        """Forget what is remembered of files that are no longer live."""
        kept = set(live)
        with self._lock:
            self._hashes = {key: value for key, value in self._hashes.items() if key[0] in kept}

    def _remember(self, root: Path, files: Iterable[LiveFile], column: str) -> None:
        together: list[tuple[str, pa.Array]] = []
        count = 0
        for file in files:
            values = _read(root, file, column)
            together.append((file.path, values))
            count += len(values)
            if count >= HASHED_AT_ONCE:
                self._keep(together, column)
                together, count = [], 0
        self._keep(together, column)

    def _keep(self, together: list[tuple[str, pa.Array]], column: str) -> None:
        for (path, _), hashes in zip(together, self._hash([values for _, values in together]), strict=True):
            self._hashes[path, column] = hashes

    def _hash(self, columns: list[pa.Array]) -> Iterator[pa.Array]:
        """A hash for each value, column by column; equal only inside this process."""
        if not columns:
            return
        if self._db is None:
            self._db = duckdb.connect(config={"memory_limit": "64MB", "threads": "1", "async_threads": "0"})
        given = pa.table({"value": pa.chunked_array(columns, pa.string())})
        self._db.register("given", given)
        hashes = self._db.sql("SELECT hash(value) AS hash FROM given").to_arrow_table()["hash"].combine_chunks()
        self._db.unregister("given")
        start = 0
        for values in columns:
            yield hashes.slice(start, len(values))
            start += len(values)


def _read(root: Path, file: LiveFile, column: str) -> pa.Array:
    """One column of a file, checked against its pages' checksums and the rows it was committed with."""
    with pq.ParquetFile(root / file.path, page_checksum_verification=True) as reader:
        values = reader.read(columns=[column], use_threads=False)[column].combine_chunks()
    check_rows(file, len(values), without_key=values.null_count if column == TABLES[file.table].key else 0)
    return values
