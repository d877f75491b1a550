"""What a repair has found and decided so far."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from warehouse.schema import Table
from warehouse.store.archive import Archive
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.names import NULL_DAY


@dataclass(slots=True)
class Repair:
    """Files to add and to drop, files that stay damaged, and what that means for rows, by label."""

    archive: Archive
    head: Commit
    now: datetime
    damaged: frozenset[str]
    add: list[LiveFile] = field(default_factory=list)
    drop: list[LiveFile] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    restored: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)


def label(table: Table, file: LiveFile) -> str:
    """Table and partition day of a file, for people."""
    return f"{table.name} {file.folder.partition('=')[2].replace(NULL_DAY, 'no day')}".strip()
