"""The answer to a question in SQL: printed, or written to a file of its own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from assets.cli.formats import FORMATS
from assets.private_file import private_file
from assets.terminal import say, show
from pipelines.errors import FixQuery
from pipelines.opening import mend_moved
from pipelines.settings import environment, warehouse_settings
from warehouse.published.query import answer, batches

PARQUET = "parquet"
"""The format that is no text, and goes to a file alone."""


def print_answer(query: str, form: str) -> None:
    """Ask the published file, and print the rows as they come.

    Raises:
        FixQuery, WarehouseError: as `answer`.
    """
    with answer(_root(), query) as found:
        for line in FORMATS[form](found):
            show(line)


def write_answer(query: str, form: str, out: Path, *, replace: bool) -> None:
    """The same into the file `out`, which appears when it is whole and is readable by you alone.

    Raises:
        FixQuery: as `answer`; or there is such a file and `replace` is not said, or it cannot be written.
        WarehouseError: as `answer`.
    """
    root = _root()
    with _new_file(out, replace=replace) as file:
        if form == PARQUET:
            _write_parquet(root, query, file)
        else:
            with answer(root, query) as found:
                for line in FORMATS[form](found):
                    file.write(f"{line}\n".encode(errors="backslashreplace"))
    say(f"{out} is written.")


def _root() -> Path:
    settings = warehouse_settings(environment())
    mend_moved(settings)
    return settings.root


def _write_parquet(root: Path, query: str, file: BinaryIO) -> None:
    with batches(root, query) as found:
        try:
            with pq.ParquetWriter(file, found.schema, compression="zstd") as writer:
                for batch in found:
                    writer.write_batch(batch)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise FixQuery("A column of this answer has a type that Parquet does not know; cast it to text.") from error


@contextlib.contextmanager
def _new_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """A file that gets its name when the block has ended well, and is gone when it has not."""
    taken = FixQuery(f"There is a file {path} already; choose another name, or say --overwrite.")
    if os.path.lexists(path) and not replace:
        raise taken
    try:
        with private_file(path, replace=replace) as file:
            yield file
    except FileExistsError as error:
        raise taken from error
    except OSError as error:
        raise FixQuery(f"The answer cannot be written to {path}: {error.strerror}.") from error
