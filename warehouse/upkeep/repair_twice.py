"""Repair, what is there twice: a row that damage hid may have been landed a second time since."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from warehouse.schema import Table
from warehouse.store.commit import LiveFile
from warehouse.upkeep.repair_work import Repair


@dataclass(slots=True)
class Twice:
    """Rows of damaged files that sound files hold too; `rows` counts them."""

    work: Repair
    table: Table
    files: Mapping[str, LiveFile]
    rows: int = 0

    def dropped(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`batch` without them."""
        archive, key = self.work.archive, self.table.key
        there = set[str]().union(*archive.keys.holding(archive.root, self.files, key, batch[key]).values())
        left = without(batch, self.table, there)
        self.rows += batch.num_rows - left.num_rows
        return left


def keys(batch: pa.RecordBatch, table: Table) -> list[str]:
    """The key of each row."""
    return batch[table.key].to_pylist()  # type: ignore[no-any-return]  # Arrow has no types


def without(batch: pa.RecordBatch, table: Table, held: set[str]) -> pa.RecordBatch:
    """The rows whose key is not `held`."""
    return batch.filter(pa.array([key not in held for key in keys(batch, table)], pa.bool_()))


def twice(work: Repair, table: Table, *, but: Mapping[str, LiveFile]) -> Twice:
    """Compares with the sound live files of a table, leaving out those in `but`."""
    live = work.head.tables[table.name]
    there = {path: file for path, file in live.items() if path not in but and path not in work.damaged}
    return Twice(work, table, there)
