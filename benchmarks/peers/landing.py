"""Rows into DuckDB for the peers that bring no loader of their own: plain tables, rows inserted a thousand at a time.

Columns are handed over as lists and unnested. `executemany`, which the documentation shows first, takes twenty
times the CPU (0.5 ms a row), and would be measured instead of the peer.
"""

import duckdb

_COLUMNS = {
    "recordings": {
        "sid": "VARCHAR", "account_sid": "VARCHAR", "call_sid": "VARCHAR", "status": "VARCHAR", "source": "VARCHAR",
        "channels": "INTEGER", "duration": "VARCHAR", "price": "VARCHAR", "price_unit": "VARCHAR",
        "date_created": "TIMESTAMPTZ", "date_updated": "TIMESTAMPTZ",
    },
    "add_on_results": {
        "sid": "VARCHAR", "reference_sid": "VARCHAR", "account_sid": "VARCHAR", "status": "VARCHAR",
        "add_on_sid": "VARCHAR", "add_on_configuration_sid": "VARCHAR",
        "date_created": "TIMESTAMPTZ", "date_updated": "TIMESTAMPTZ", "date_completed": "TIMESTAMPTZ",
    },
    "add_on_payloads": {
        "sid": "VARCHAR", "add_on_result_sid": "VARCHAR", "reference_sid": "VARCHAR", "account_sid": "VARCHAR",
        "label": "VARCHAR", "content_type": "VARCHAR", "date_created": "TIMESTAMPTZ", "date_updated": "TIMESTAMPTZ",
    },
    "contents": {"payload_sid": "VARCHAR", "content": "BLOB"},
}  # fmt: skip

COLUMNS = {table: tuple(columns) for table, columns in _COLUMNS.items()}
"""Names of each table's columns: also those of Twilio's fields."""

_ROWS = 1000


class Landing:
    """A DuckDB file that rows are added to; a context manager that writes what is left and closes."""

    def __init__(self, path: str) -> None:
        self._db = duckdb.connect(path)
        self._waiting: dict[str, list[tuple[object, ...]]] = {table: [] for table in _COLUMNS}
        for table, columns in _COLUMNS.items():
            self._db.execute(f"CREATE TABLE {table} ({', '.join(f'{n} {t}' for n, t in columns.items())})")

    def __enter__(self) -> "Landing":
        return self

    def __exit__(self, *error: object) -> None:
        for table in self._waiting:
            self._flush(table)
        self._db.close()

    def add(self, table: str, row: tuple[object, ...]) -> None:
        """Add one row, its values in the order of `COLUMNS`."""
        self._waiting[table].append(row)
        if len(self._waiting[table]) >= _ROWS:
            self._flush(table)

    def _flush(self, table: str) -> None:
        rows = self._waiting[table]
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            self._db.execute(f"INSERT INTO {table} SELECT {', '.join('unnest(?)' for _ in columns)}", columns)
            rows.clear()
