"""Finding keys among the live files: right whatever is remembered, and the first reading is a checked one."""

import pickle
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.warehouse.made_up import NOON, Row, land_rows, later, payload, result, rows_by_key, sid, whole
from warehouse.archive import Archive, open_archive
from warehouse.keys import Keys
from warehouse.landed import landed_recordings, owing_recordings
from warehouse.schema import ADD_ON_RESULTS


def written(root: Path, name: str, values: list[str]) -> str:
    """A file with one column."""
    table = pa.table({"sid": pa.array(values, pa.string())})
    pq.write_table(table, root / name, row_group_size=2, write_page_checksum=True)
    return name


def test_each_key_is_found_in_its_file_and_in_no_other(tmp_path: Path) -> None:
    """The first time, the second time, with files that came in between, and in files without rows."""
    files = [written(tmp_path, "a", ["1", "2", "3"]), written(tmp_path, "b", []), written(tmp_path, "c", ["4", "2"])]
    keys = Keys()
    for _ in range(2):
        found = keys.holding(tmp_path, files, "sid", pa.array(["2", "3", "9"]))
        assert found == {"a": {"2", "3"}, "c": {"2"}}
        files.append(written(tmp_path, "d", ["8"]))
        assert keys.holding(tmp_path, files, "sid", pa.array(["8"])) == {"d": {"8"}}
    assert keys.holding(tmp_path, ["c"], "sid", pa.array(["3", "4"])) == {"c": {"4"}}
    assert keys.holding(tmp_path, files, "sid", pa.array([], pa.string())) == {}
    assert keys.holding(tmp_path, [], "sid", pa.array(["1"])) == {}


def test_a_hit_is_settled_by_the_file_itself(tmp_path: Path) -> None:
    """Two keys of one hash are not taken for each other."""
    name = written(tmp_path, "a", ["1", "2"])
    keys = Keys()
    assert keys.holding(tmp_path, [name], "sid", pa.array(["1"])) == {"a": {"1"}}
    (hashes,) = keys._hash([pa.array(["other", "2"])])
    keys._hashes[name, "sid"] = hashes
    assert keys.holding(tmp_path, [name], "sid", pa.array(["other"])) == {}


def test_what_was_read_is_not_read_again_until_it_is_forgotten(tmp_path: Path) -> None:
    """A file without the keys asked for may even be gone; another process remembers nothing."""
    files = [written(tmp_path, "a", ["1"]), written(tmp_path, "b", ["2"])]
    keys = Keys()
    keys.holding(tmp_path, files, "sid", pa.array(["1"]))
    (tmp_path / "b").unlink()
    assert keys.holding(tmp_path, files, "sid", pa.array(["1"])) == {"a": {"1"}}
    for forgetful in (pickle.loads(pickle.dumps(keys)), keys):
        forgetful.forget_all_but(["a"])
        with pytest.raises(FileNotFoundError):
            forgetful.holding(tmp_path, files, "sid", pa.array(["1"]))


def test_a_damaged_key_is_an_error_at_the_first_reading(tmp_path: Path) -> None:
    """One flipped bit that leaves the page readable and makes another key: its row would be landed a second time."""
    values = [sid("XR", n) for n in range(4)]
    table = pa.table({"sid": pa.array(values, pa.string())})
    path = tmp_path / "a"
    pq.write_table(
        table, path, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
    )
    data = bytearray(path.read_bytes())
    data[data.index(values[2].encode()) + 33] ^= 1
    path.write_bytes(data)
    assert pq.read_table(path)["sid"].to_pylist() == [*values[:2], values[3], values[3]]
    with pytest.raises(OSError, match="CRC"):
        Keys().holding(tmp_path, ["a"], "sid", pa.array(values))


def test_one_process_lands_as_many_fresh_ones_do(archive: Archive, tmp_path: Path) -> None:
    """What is remembered over 12 landings with rewrites and moves changes nothing."""
    other = tmp_path / "other"
    for number in range(12):
        rows = [*whole(number, done=None), result(number // 2, at=later(number), status=f"at {number}")]
        land_rows(archive, rows, now=later(number))
        land_rows(open_archive(other), rows, now=later(number))
    for table in (ADD_ON_RESULTS,):
        here, there = rows_by_key(archive, table), rows_by_key(open_archive(other), table)
        assert {key: row["status"] for key, row in here.items()} == {key: row["status"] for key, row in there.items()}
        assert len(here) == 12


def test_a_recording_is_looked_up_with_all_that_is_landed_of_it(archive: Archive) -> None:
    """Over several files; results are left out where they are not wanted, and unknown SIDs altogether."""
    land_rows(archive, [*whole(1), *whole(2)])
    land_rows(archive, [result(3, reference_sid=sid("RE", 1), done=None), payload(4, of=1)])
    both = [sid("RE", n) for n in (1, 2, 9)]
    found = landed_recordings(archive, archive.head(), both, since=NOON.date())
    assert set(found) == {sid("RE", 1), sid("RE", 2)}
    assert found[sid("RE", 1)].listed_at == NOON
    one = found[sid("RE", 1)].results
    assert set(one) == {sid("XR", 1), sid("XR", 3)}
    assert dict(one[sid("XR", 1)].contents) == {sid("XH", 1): True, sid("XH", 4): False}
    assert one[sid("XR", 1)].exported_at == NOON
    assert one[sid("XR", 3)].exported_at is None
    bare = landed_recordings(
        archive, archive.head(), both, since=None, with_results=lambda key, landed: key == sid("RE", 2)
    )
    assert {key: set(landed.results) for key, landed in bare.items()} == {
        sid("RE", 1): set(),
        sid("RE", 2): {sid("XR", 2)},
    }


@pytest.mark.parametrize(
    ("rows", "owes"),
    [
        (whole(1), False),
        ([*whole(1), payload(4, of=1)], True),
        ([*whole(1), result(2, reference_sid=sid("RE", 1), done=None)], True),
        ([*whole(1), result(2, reference_sid=sid("RE", 1))], True),
        ([*whole(1), result(2, reference_sid=sid("RE", 1), expires_at=later(1))], False),
        ([*whole(1), result(2, reference_sid=sid("RE", 1), expires_at=None)], True),
        ([*whole(1), result(2, reference_sid=sid("RE", 1), deleted_at=NOON)], False),
        ([*whole(1), payload(4, of=1, add_on_result_sid=sid("XR", 9))], True),
    ],
)
def test_a_recording_owes_what_is_landed_of_it_and_not_whole(archive: Archive, rows: list[Row], owes: bool) -> None:
    """Whatever its own row says, which may not have been landed any more; not what cannot be had any more."""
    land_rows(archive, rows)
    found = owing_recordings(archive, archive.head(), now=later(2), kept=timedelta(days=30))
    assert found == ({sid("RE", 1)} if owes else set())
    landed = landed_recordings(archive, archive.head(), [sid("RE", 1)], since=None, owing=found)
    assert landed[sid("RE", 1)].owes is owes
