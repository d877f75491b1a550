"""Delta logs: another implementation of the protocol reads what `addons.duckdb` shows, whatever came before."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from tests.warehouse.made_up import NOON, land_rows, later, leftovers, logical, result, sid, whole
from warehouse.erasures import fingerprint
from warehouse.land import land
from warehouse.published.delta import CHECKPOINT_EVERY, differences, show_in_delta
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_RESULTS, CONTENTS, TABLES, Table
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.collect import collect
from warehouse.store.names import DELTA
from warehouse.store.opening import open_archive
from warehouse.store.strangers import remove_ours, strangers
from warehouse.upkeep.compact import compact
from warehouse.upkeep.erase import Selection, erase
from warehouse.upkeep.verify import verify

RESULTS = f"{ADD_ON_RESULTS.name}/{DELTA}"


def read(archive: Archive, table: Table) -> list[dict[str, Any]]:
    """The rows of a table as another engine reads them."""
    rows = pa.table(deltalake.DeltaTable(archive.root / table.name).to_pyarrow_table()).to_pylist()
    return sorted(rows, key=lambda row: str(row[table.key]))


def shows_head(archive: Archive) -> None:
    """Every table has the rows of the newest commit, and `verify` finds nothing."""
    expected = logical(archive, without=())
    for table in TABLES.values():
        assert read(archive, table) == expected[table.name], table.name
    assert verify(archive).mismatches == ()


def names(archive: Archive, folder: str = RESULTS) -> list[str]:
    """The files of a log."""
    return sorted(path.name for path in (archive.root / folder).iterdir())


def erased(archive: Archive, number: int) -> None:
    """Erase a recording with all that hangs on it."""

    def choose(snapshot: Snapshot) -> Selection:
        chosen = Selection(record={sid("XR", number): "add_on_result"})
        for table, kind in ((ADD_ON_RESULTS, "XR"), (CONTENTS, "XH")):
            chosen.add(table, snapshot.holding(table, [sid(kind, number)]))
        chosen.add(TABLES["add_on_payloads"], snapshot.holding(TABLES["add_on_payloads"], [sid("XH", number)]))
        return chosen

    assert erase(archive, "parquet", choose, reason="asked for", now=later(5)) is not None


@pytest.fixture
def landed(archive: Archive) -> Archive:
    """Three results, one without a day, published."""
    land_rows(archive, [*whole(1), *whole(2, done=later(24)), *whole(3, done=None)])
    publish(archive, "parquet", now=NOON)
    return archive


def test_another_engine_reads_every_table(landed: Archive) -> None:
    """Types, rows without a day and empty tables come through, with the descriptions of tables and columns."""
    shows_head(landed)
    table = deltalake.DeltaTable(landed.root / ADD_ON_RESULTS.name)
    assert table.metadata().description == ADD_ON_RESULTS.description
    assert table.schema().fields[0].metadata == {"comment": ADD_ON_RESULTS.columns[0].description}


def test_a_day_is_one_days_files(landed: Archive) -> None:
    """A question about a day opens that day's files only."""
    table = deltalake.DeltaTable(landed.root / ADD_ON_RESULTS.name)
    files = table.file_uris(file_pruning_predicate=[("completed_date", "=", "2026-11-20")])
    assert [Path(file).parent.name for file in files] == ["completed_date=2026-11-20"]


def test_changed_rows_are_there_once(landed: Archive) -> None:
    """What a later landing, a change of day and `compact` replaced is gone from the log, though it is on the disk."""
    land_rows(landed, [result(3, at=later(1), done=later(2)), *whole(4, at=later(1))])
    publish(landed, "parquet", now=later(1))
    shows_head(landed)
    for number in (5, 6, 7):
        land_rows(landed, whole(number, at=later(1)))
    assert compact(landed, now=later(24 * 9), run_id="test")
    publish(landed, "parquet", now=later(2))
    shows_head(landed)
    assert len(list((landed.root / ADD_ON_RESULTS.name).glob("*/*.parquet"))) > len(
        deltalake.DeltaTable(landed.root / ADD_ON_RESULTS.name).file_uris()
    )


def test_a_publication_without_news_writes_nothing(landed: Archive) -> None:
    """An hour in which nothing came adds no version."""
    before = names(landed)
    publish(landed, "parquet", now=later(1))
    show_in_delta(landed, landed.head())
    assert names(landed) == before


def test_what_was_missed_is_made_good(landed: Archive) -> None:
    """A version says what is between the log and the commit, so two landings can be one version."""
    for number in (4, 5):
        land_rows(landed, whole(number, at=later(number)))
    publish(landed, "duckdb", now=later(6))
    shows_head(landed)


def test_a_restored_backup_takes_its_log_back(landed: Archive) -> None:
    """Where the log is ahead of the newest commit, as after a restore, the next publication shows that commit."""
    head = landed.head()
    land_rows(landed, whole(4, at=later(1)))
    publish(landed, "parquet", now=later(1))
    (landed.root / "_commits" / f"{landed.head().number:012d}.json").unlink()
    assert {path for path, _ in differences(landed, head)} >= {RESULTS}
    publish(landed, "parquet", now=later(2))
    shows_head(landed)


def test_a_checkpoint_stands_for_all_before_it(landed: Archive) -> None:
    """Old versions are removed, and a reader that begins with the checkpoint has every row."""
    for hour in range(1, CHECKPOINT_EVERY + 2):
        land_rows(landed, [result(1, at=later(hour), payload_count=1, add_on_sid=sid("XB", hour))])
        show_in_delta(landed, landed.head())
    publish(landed, "parquet", now=later(99))
    assert names(landed) == [
        "00000000000000000020.checkpoint.parquet",
        "00000000000000000020.json",
        "00000000000000000021.json",
        "_last_checkpoint",
    ]
    shows_head(landed)


def test_an_erasure_leaves_no_name_of_a_file_that_held_it(landed: Archive) -> None:
    """The past of a log goes with what was erased, and no log holds a SID."""
    before = {path for files in landed.head().tables.values() for path in files}
    erased(landed, 1)
    shows_head(landed)
    gone = {path.rpartition("/")[2] for path in before - {f.path for f in landed.head().files()}}
    for table in TABLES:
        assert [name for name in names(landed, f"{table}/{DELTA}") if name.endswith(".checkpoint.parquet")]
        for path in (landed.root / table / DELTA).glob("*.parquet"):
            assert not any(name.encode() in path.read_bytes() for name in gone)
    for path in landed.root.glob(f"*/{DELTA}/*"):
        assert not any(sid(kind, 1).encode() in path.read_bytes() for kind in ("XR", "RE", "XH"))
        assert fingerprint(sid("XR", 1)).encode() not in path.read_bytes()


def test_statistics_hold_no_value_of_a_row(landed: Archive) -> None:
    """Of a file a log says where it is, how large it is and how many rows it has."""
    for path in landed.root.glob(f"*/{DELTA}/*.json"):
        for line in path.read_text().splitlines():
            if (added := json.loads(line).get("add")) is not None:
                assert json.loads(added["stats"]).keys() == {"numRecords"}


def test_other_writers_refuse_the_table(landed: Archive) -> None:
    """A program that keeps the protocol does not append to a table, nor delete from it or remove its files."""
    land_rows(landed, [result(1, at=later(1), add_on_sid=sid("XB", 1))])
    publish(landed, "parquet", now=later(1))
    table = deltalake.DeltaTable(landed.root / ADD_ON_RESULTS.name)
    before = sorted(landed.root.rglob("*"))
    for write in (
        lambda: deltalake.write_deltalake(table, table.to_pyarrow_table(), mode="append"),
        lambda: table.delete("status = 'completed'"),
        lambda: table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False),
    ):
        with pytest.raises(deltalake.exceptions.DeltaError, match="addonExportOnly"):
            write()
    assert sorted(landed.root.rglob("*")) == before


@pytest.mark.parametrize("damage", ["missing", "cut", "gap", "old files", "link"])
def test_verify_tells_a_wrong_log_and_rebuild_makes_it_anew(landed: Archive, damage: str, tmp_path: Path) -> None:
    """Whatever is the matter with a log, it costs a rebuild; what it leads to is never written to."""
    land_rows(landed, [result(1, at=later(1), add_on_sid=sid("XB", 1))])
    publish(landed, "parquet", now=later(1))
    first, last = (landed.root / RESULTS / f"{number:020d}.json" for number in (0, 1))
    stranger = tmp_path / "stranger"
    stranger.write_text("his")
    if damage == "missing":
        remove_log(landed)
    elif damage == "cut":
        last.write_bytes(last.read_bytes()[:-40])
    elif damage == "gap":
        first.unlink()
    elif damage == "old files":
        last.unlink()
    else:
        last.unlink()
        last.symlink_to(stranger)
    assert [mismatch.subject for mismatch in verify(landed).mismatches] == [RESULTS]
    publish(landed, "parquet", now=later(2), afresh=True)
    shows_head(landed)
    assert stranger.read_text() == "his"


def remove_log(archive: Archive) -> None:
    """Remove the log of results."""
    for path in (archive.root / RESULTS).iterdir():
        path.unlink()


def test_logs_are_ours_and_are_left_alone(landed: Archive) -> None:
    """Neither are they strangers, nor does collecting remove them; a root that is given up is empty."""
    land_rows(landed, whole(4, at=later(1)))
    publish(landed, "parquet", now=later(1))
    (landed.root / RESULTS / f".{'0' * 32}.tmp").write_bytes(b"begun")
    assert strangers(landed.root) == []
    collect(landed, now=later(24 * 400), grace=later(24) - NOON, keep=1)
    shows_head(landed)
    assert not leftovers(landed.root)
    remove_ours(landed.root)
    assert not list(landed.root.iterdir())


def test_publishers_at_once_lose_no_version(landed: Archive) -> None:
    """Who finds its number taken reads again and says what is missing then."""
    others = [open_archive(landed.root) for _ in range(4)]
    with ThreadPoolExecutor(len(others)) as at_once:
        for number in range(4, 8):
            land_rows(landed, whole(number, at=later(number)))
            list(at_once.map(lambda other: show_in_delta(other, other.head()), others))
    publish(landed, "parquet", now=later(9))
    shows_head(landed)


def test_the_documented_example_runs(landed: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    """What `docs/engines.md` says of deltalake is what it takes."""
    page = (Path(__file__).parents[3] / "docs" / "engines.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(example.replace("demo-data", str(landed.root)), {})
    assert capsys.readouterr().out == "True ['sid', 'status']\n"


def test_a_landing_alone_changes_no_log(landed: Archive) -> None:
    """Until it is published, an engine reads the commit before, whole, and `verify` finds that right."""
    before = read(landed, ADD_ON_RESULTS)
    land(landed, {}, run_id="test", now=later(1))
    land_rows(landed, whole(7, at=later(1), done=later(30)))
    assert read(landed, ADD_ON_RESULTS) == before
    assert verify(landed).mismatches == ()
    assert date(2026, 11, 21) in {row["completed_date"] for row in logical(landed)[ADD_ON_RESULTS.name]}
