"""What a published `addons.duckdb` shows beside landed rows: views, comments, names of add-ons, and its commit.

`fingerprint` changes when any of the definitions does, so that a file made by other settings, or by another version
of this project, is published again.
"""

import hashlib
from datetime import datetime

import duckdb

from warehouse.published import parts, views
from warehouse.published.macros import macros
from warehouse.store.archive import Archive
from warehouse.store.commit import Commit
from warehouse.store.names import Destination
from warehouse.store.stamp import OURS
from warehouse.transcripts.shapes import shapes

LAYOUT = 8
"""Raised when the inner layout changes; a file of another layout is rebuilt, not refreshed."""


class Shown:
    """What is in the file beside landed rows: views, comments, names, and the commit's number."""

    def __init__(self, archive: Archive, destination: Destination) -> None:
        self.destination = destination
        self.names = sorted(archive.add_on_names.items())
        self.shapes = shapes(archive.root)
        self.statements = [*views.views(), *views.comments(destination), *macros()]
        given = (str(archive.root) * (destination == "parquet"), self.names, self._shapes())
        self.fingerprint = hashlib.sha256(repr((given, self.statements)).encode()).hexdigest()

    def finish(self, db: duckdb.DuckDBPyConnection, head: Commit, *, now: datetime, is_defined: bool = False) -> None:
        """Put it in; everything checkpointed into the one file.

        Where the file has these very definitions already (`is_defined`), it gets only what each commit changes: that
        is a third of the CPU that publishing takes.
        """
        db.execute("BEGIN")  # one transaction: each statement alone would wait for the disk
        if self.destination == "duckdb":
            parts.show(db)
        if not is_defined:
            self._make_settings(db)
        db.execute("DELETE FROM _commit")
        values = [head.number, head.at, now, self.destination, LAYOUT, self.fingerprint]
        db.execute("INSERT INTO _commit VALUES (?, ?, ?, ?, ?, ?)", values)
        db.execute("CREATE SCHEMA IF NOT EXISTS _about")
        db.execute("CREATE OR REPLACE TABLE _about.format (read BIGINT, write BIGINT, version VARCHAR)")
        db.execute("INSERT INTO _about.format VALUES (?, ?, ?)", [OURS.read, OURS.write, OURS.version])
        for statement in views.comments_on_contents() if is_defined else self.statements:
            db.execute(statement)
        db.execute("COMMIT")
        db.execute("CHECKPOINT")

    def _make_settings(self, db: duckdb.DuckDBPyConnection) -> None:
        db.execute("CREATE OR REPLACE TABLE add_on_names (add_on_sid VARCHAR, name VARCHAR)")
        for pair in self.names:
            db.execute("INSERT INTO add_on_names VALUES (?, ?)", list(pair))
        db.execute(
            "CREATE OR REPLACE TABLE transcript_shapes (position INTEGER, vendor VARCHAR, version INTEGER, "
            "description VARCHAR, problem VARCHAR)"
        )
        for row in self._shapes():
            db.execute("INSERT INTO transcript_shapes VALUES (?, ?, ?, ?, ?)", list(row))
        db.execute(
            "CREATE OR REPLACE TABLE _commit (number BIGINT, committed_at TIMESTAMPTZ, published_at TIMESTAMPTZ, "
            "destination VARCHAR, layout INTEGER, definitions VARCHAR)"
        )

    def _shapes(self) -> list[tuple[int | None, str, int | None, str | None, str | None]]:
        usable = [
            (n, shape.vendor, shape.version, shape.description, None) for n, shape in enumerate(self.shapes.usable, 1)
        ]
        broken = [(None, name, None, None, problem) for name, problem in sorted(self.shapes.broken.items())]
        return [*usable, *broken]
