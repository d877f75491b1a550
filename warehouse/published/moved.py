"""A root that was moved, copied or mounted elsewhere: whose files the views of its `addons.duckdb` read.

The views of destination "parquet" name files by their whole path, because DuckDB reads relative ones from wherever a
client happens to be. Native tables name none.
"""

import re
from pathlib import Path

import duckdb

from warehouse.store.names import Made

_FIRST_FILE = re.compile(rf"'([^']*(?:''[^']*)*)/{Made.SEALED.value}'", re.ASCII)


def reads_elsewhere(db: duckdb.DuckDBPyConnection, root: Path) -> Path | None:
    """The other root whose files the views of an open `addons.duckdb` read; None when they read those of `root`."""
    if db.execute("SELECT destination FROM _commit").fetchall() != [("parquet",)]:
        return None
    for (sql,) in db.execute("SELECT sql FROM duckdb_views() WHERE NOT internal").fetchall():
        if (found := _FIRST_FILE.search(sql)) is not None:
            read = Path(found[1].replace("''", "'"))
            return None if read == root.absolute() else read
    return None
