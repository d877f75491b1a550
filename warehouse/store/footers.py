"""What the footers of sealed files say that this program does not know: rows written anew would lose it."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.schema import TABLES
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.names import PLAIN
from warehouse.store.stamp import Stamp, stamp_in


def refuse_newer(root: Path, files: Iterable[LiveFile]) -> None:
    """Refuse to write anew, or to erase from, files of a later version.

    What cannot be read is damaged; whoever needs its rows says so.

    Raises:
        UpdateProgram: one is of a newer format, or has columns or a table that this version does not know.
    """
    for file in files:
        if (stamp := _stamp(root, file)) is not None and not stamp.writable:
            raise stamp.refusal(file.path)


def refuse_any_newer(root: Path, head: Commit) -> None:
    """The same for every live file: for whoever takes all of them in hand, before anything is touched."""
    refuse_newer(root, head.files())


def _stamp(root: Path, file: LiveFile) -> Stamp | None:
    known = {*TABLES[file.table].file_schema.names} if file.table in TABLES else set()
    try:
        metadata = pq.read_metadata(root / file.path)
        columns = [name for name in metadata.schema.to_arrow_schema().names if name not in known]
        unknown = tuple(f"column {name if PLAIN.fullmatch(name) else '?'}" for name in columns)
        return stamp_in(metadata.metadata, unknown=unknown)
    except (OSError, pa.ArrowException, ValueError):
        return None


def check_rows(file: LiveFile, rows: int, *, without_key: int = 0) -> None:
    """Refuse what was read of a file unless it is every row that was committed, and each has its key.

    Page checksums do not cover the footer, which says how many rows there are: a row that it hides would be landed
    a second time.

    Raises:
        ArrowInvalid: it is not, as Arrow itself says of a damaged file; `reading_errors` makes a sentence of it.
    """
    if rows != file.rows or without_key:
        raise pa.ArrowInvalid(f"{file.path} gives {rows} rows of {file.rows}, {without_key} of them without a key.")
