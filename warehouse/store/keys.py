"""Which live files hold given keys, without reading them all again.

Sealed files are immutable, so a 64-bit hash of each value is remembered from the first reading on: 8 bytes a value,
in memory, and on the disk once somebody has them kept (see `warehouse.store.facts`).
Files are read with page checksums, which DuckDB does not check (a damaged key would land its row a second time), and
must give the rows they were committed with, since no checksum protects the footer. A hit among the hashes is settled by
the file itself.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from threading import Lock

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.schema import TABLES
from warehouse.store import facts
from warehouse.store.commit import Files, LiveFile
from warehouse.store.files import Access
from warehouse.store.footers import check_rows
from warehouse.store.names import identity
from warehouse.store.seal import SealKey

HASHED_AT_ONCE = 200_000
"""Values; a call of DuckDB for each of many small files would cost more than the hashing."""


HASH_BYTES = 8

_PROBES = f"SELECT hash(''), hash('XR'), hash('{'XR' + 'f' * 32}'), hash('{'é' * 200}'), hash(NULL::VARCHAR)"


class Keys:
    """Remembers hashes of columns of sealed files by path. May be used by several threads.

    With a seal key it believes what is on the disk only if a holder of the key has kept it.
    """

    def __init__(self, key: SealKey | None = None) -> None:
        self._key = key
        self._hashes: dict[tuple[str, str], pa.Array] = {}
        self._kept: set[tuple[str, str]] = set()
        self._lock = Lock()
        self._told = ""
        self._db: duckdb.DuckDBPyConnection | None = None

    def __reduce__(self) -> tuple[type["Keys"], tuple[SealKey | None]]:
        return Keys, (self._key,)  # another process remembers for itself

    def holding(self, root: Path, files: Files, column: str, values: pa.Array) -> dict[str, set[str]]:
        """Which of `values` are in `column`, by the path of the file that holds them; files without any are left out.

        Raises:
            OSError, ArrowException, KeyError: a file is missing or damaged; `reading_errors` makes a sentence of it.
        """
        found = {}
        for path in self.candidates(root, files, column, values):
            there = _read(root, files[path], column)
            if exact := there.filter(pc.is_in(there, value_set=values)).to_pylist():
                found[path] = set(exact)
        return found

    def candidates(self, root: Path, files: Files, column: str, values: pa.Array) -> set[str]:
        """The paths of the files that hold some of `values`, and perhaps, as hashes can be equal, of one that does not.

        For whoever reads these files anyway. Raises as `holding`.
        """
        paths = sorted(files)
        if not paths or not len(values):
            return set()
        with self._lock:
            self._remember(root, [files[path] for path in paths if (path, column) not in self._hashes], column)
            hashes = [self._hashes[path, column] for path in paths]
            (wanted,) = self._hash([values])
        ends = list(accumulate(map(len, hashes)))
        hits = pc.indices_nonzero(pc.is_in(pa.chunked_array(hashes, pa.uint64()), value_set=wanted)).to_pylist()
        return {paths[bisect_right(ends, hit)] for hit in hits}

    def forget_all_but(self, live: Iterable[str]) -> None:
        """Forget what is remembered of files that are no longer live."""
        kept = set(live)
        with self._lock:
            self._hashes = {key: value for key, value in self._hashes.items() if key[0] in kept}
            self._kept &= self._hashes.keys()

    def keep(self, root: Path, files: Files, column: str, *, access: Access) -> None:
        """Have the hashes of a column of `files` on the disk, for processes to come.

        What is there already is looked at by whoever needs it.

        Raises:
            OSError, ArrowException, KeyError: as `holding`.
        """
        there = facts.names(root)
        with self._lock:
            missing = [file for path, file in files.items() if (path, column) not in self._hashes]
            self._remember(root, [file for file in missing if _name(file, column) not in there], column)
            worked_out = self._hashes.keys() - self._kept
            for file in (file for path, file in files.items() if (path, column) in worked_out):
                if (about := self._about(root, file)) is not None:
                    hashes = self._hashes[file.path, column]
                    values = hashes.buffers()[1].slice(hashes.offset * HASH_BYTES, len(hashes) * HASH_BYTES)
                    name = _name(file, column)
                    facts.keep(root, name, about, values.to_pybytes(), access=access, key=self._key)
                self._kept.add((file.path, column))

    def distinct(self, root: Path, files: Files, column: str, *, known: Collection[str] = ()) -> bool:
        """Whether no value is in `column` of `files` twice, given that none is in the `known` ones; False: perhaps not.

        Raises:
            OSError, ArrowException, KeyError: as `holding`.
        """
        with self._lock:
            self._remember(root, [file for path, file in files.items() if (path, column) not in self._hashes], column)
            old = pa.chunked_array([self._hashes[path, column] for path in files if path in known], pa.uint64())
            new = pa.chunked_array([self._hashes[path, column] for path in files if path not in known], pa.uint64())
        if not len(new):
            return True
        unique = new.unique()
        return len(unique) == len(new) and not pc.any(pc.is_in(old, value_set=unique)).as_py()

    def _recall(self, root: Path, file: LiveFile, column: str) -> pa.Array | None:
        if (about := self._about(root, file)) is None:
            return None
        says = facts.recall(root, _name(file, column), about, self._key)
        if says is None or len(says) % HASH_BYTES:
            return None
        return pa.Array.from_buffers(pa.uint64(), len(says) // HASH_BYTES, [None, pa.py_buffer(says)])

    def _about(self, root: Path, file: LiveFile) -> str | None:
        """What hashes on the disk must be about: the file as it is now, and the function that made them."""
        state = facts.state_of(root, file)
        return None if state is None else f"{state} {self._function()}"

    def _remember(self, root: Path, files: Iterable[LiveFile], column: str) -> None:
        together: list[tuple[str, pa.Array]] = []
        count = 0
        for file in files:
            if (kept := self._recall(root, file, column)) is not None:
                self._hashes[file.path, column] = kept
                self._kept.add((file.path, column))
                continue
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
        """A hash for each value, column by column; equal where `_function` is."""
        if not columns:
            return
        given = pa.table({"value": pa.chunked_array(columns, pa.string())})
        db = self._database()
        db.register("given", given)
        hashes = db.sql("SELECT hash(value) AS hash FROM given").to_arrow_table()["hash"].combine_chunks()
        db.unregister("given")
        start = 0
        for values in columns:
            yield hashes.slice(start, len(values))
            start += len(values)

    def _function(self) -> str:
        """What tells DuckDB's hash function from that of another version: some of its values."""
        if not self._told:
            self._told = " ".join(f"{value:x}" for value in self._database().execute(_PROBES).fetchall()[0])
        return self._told

    def _database(self) -> duckdb.DuckDBPyConnection:
        if self._db is None:
            self._db = duckdb.connect(config={"memory_limit": "64MB", "threads": "1", "async_threads": "0"})
        return self._db


def _name(file: LiveFile, column: str) -> str:
    return f"{identity(file.path)}.{column}"


def _read(root: Path, file: LiveFile, column: str) -> pa.Array:
    """One column of a file, checked against its pages' checksums and the rows it was committed with."""
    with pq.ParquetFile(root / file.path, page_checksum_verification=True) as reader:
        values = reader.read(columns=[column], use_threads=False)[column].combine_chunks()
    check_rows(file, len(values), without_key=values.null_count if column == TABLES[file.table].key else 0)
    return values
