"""A root that was moved, copied or mounted elsewhere: its `addons.duckdb` is published again where it may be.

The views of destination "parquet" name files by their whole path, because DuckDB reads relative ones from wherever a
client happens to be. Native tables name none.
"""

import contextlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from pipelines.opening import to_write
from pipelines.settings import WarehouseSettings
from warehouse.errors import WarehouseError
from warehouse.names import Made
from warehouse.publish import NAME, publish

_FIRST_FILE = re.compile(rf"'([^']*(?:''[^']*)*)/{Made.SEALED.value}'", re.ASCII)


def mend_moved(settings: WarehouseSettings) -> None:
    """Publish again what reads the files of another folder; nothing happens where the root cannot be written."""
    try:
        # whoever made the file: before it is known to be ours, it can reach nothing else
        locked: dict[str, str | bool | int | float | list[str]] = {"enable_external_access": False}
        path = str(settings.root.absolute() / NAME)
        with contextlib.closing(duckdb.connect(path, read_only=True, config=locked)) as db:
            if reads_elsewhere(db, settings.root) is None:
                return
            names = dict(db.execute("SELECT add_on_sid, name FROM add_on_names").fetchall())
    except duckdb.Error:
        return  # whoever reads it says what is the matter
    with contextlib.suppress(WarehouseError):
        publish(replace(to_write(settings), add_on_names=names), "parquet", now=datetime.now(UTC))


def reads_elsewhere(db: duckdb.DuckDBPyConnection, root: Path) -> Path | None:
    """The other root whose files the views of an open `addons.duckdb` read; None when they read those of `root`."""
    if db.execute("SELECT destination FROM _commit").fetchall() != [("parquet",)]:
        return None
    for (sql,) in db.execute("SELECT sql FROM duckdb_views() WHERE NOT internal").fetchall():
        if (found := _FIRST_FILE.search(sql)) is not None:
            read = Path(found[1].replace("''", "'"))
            return None if read == root.absolute() else read
    return None
