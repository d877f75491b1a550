"""What people copied under the root of what is erased is named."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.erase.choice import erase_sids
from pipelines.records.sids import add_on_result_sid
from tests.warehouse.made_up import NOON, land_rows, sid, whole
from warehouse.published.publish import publish
from warehouse.store.opening import open_archive
from warehouse.upkeep.copies import copies_of_erased
from warehouse.upkeep.verify import verify


def test_files_of_others_that_hold_an_erased_sid_are_named(tmp_path: Path) -> None:
    """As text in any case, in Parquet; what cannot be looked into is told apart, and the rest is no matter."""
    archive = open_archive(tmp_path / "root")
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    erased = sid("XR", 1)
    (archive.root / "notes.csv").write_text(f"call,{erased[:2]}{erased[2:].upper()}\n")
    pq.write_table(pa.table({"result": [erased] * 100}), archive.root / "copy.parquet")
    (archive.root / "copy.gz").write_bytes(b"\x1f\x8b anything")
    (archive.root / "other.txt").write_text(sid("XR", 2))
    assert copies_of_erased(archive).holding == ()
    erase_sids(archive, "duckdb", results=[add_on_result_sid(erased)], now=NOON)
    found = copies_of_erased(archive)
    assert (found.holding, found.unread) == (("copy.parquet", "notes.csv"), ("copy.gz",))
    named = {m.subject for m in verify(archive).mismatches if m.kind == "copy"}
    assert named == {"copy.parquet", "notes.csv"}
