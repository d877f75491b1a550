"""Finding keys among the live files: right whatever is remembered, and the first reading is a checked one."""

import pickle
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.warehouse.made_up import NOON, Row, land_rows, later, payload, result, rows_by_key, sid, whole
from warehouse.landed import landed_recordings, owing_recordings
from warehouse.schema import ADD_ON_RESULTS, RECORDINGS
from warehouse.store.archive import Archive
from warehouse.store.commit import Files, LiveFile
from warehouse.store.keys import Keys
from warehouse.store.opening import open_archive


def written(root: Path, name: str, values: list[str]) -> LiveFile:
    """A file with one column."""
    table = pa.table({"sid": pa.array(values, pa.string())})
    path = root / RECORDINGS.name / name
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, row_group_size=2, write_page_checksum=True)
    return LiveFile(f"{RECORDINGS.name}/{name}", len(values), path.stat().st_size, "")


def by_path(*files: LiveFile) -> Files:
    """As a commit has them."""
    return {file.path: file for file in files}


def found(keys: Keys, root: Path, files: Iterable[LiveFile], values: list[str]) -> dict[str, set[str]]:
    """What is found, by the name of the file."""
    holding = keys.holding(root, by_path(*files), "sid", pa.array(values, pa.string()))
    return {Path(path).name: held for path, held in holding.items()}


def test_each_key_is_found_in_its_file_and_in_no_other(tmp_path: Path) -> None:
    """The first time, the second time, with files that came in between, and in files without rows."""
    files = [written(tmp_path, "a", ["1", "2", "3"]), written(tmp_path, "b", []), written(tmp_path, "c", ["4", "2"])]
    keys = Keys()
    for _ in range(2):
        assert found(keys, tmp_path, files, ["2", "3", "9"]) == {"a": {"2", "3"}, "c": {"2"}}
        files.append(written(tmp_path, "d", ["8"]))
        assert found(keys, tmp_path, files, ["8"]) == {"d": {"8"}}
    assert found(keys, tmp_path, files[2:3], ["3", "4"]) == {"c": {"4"}}
    assert found(keys, tmp_path, files, []) == {}
    assert found(keys, tmp_path, [], ["1"]) == {}


def test_a_hit_is_settled_by_the_file_itself(tmp_path: Path) -> None:
    """Two keys of one hash are not taken for each other."""
    file = written(tmp_path, "a", ["1", "2"])
    keys = Keys()
    assert found(keys, tmp_path, [file], ["1"]) == {"a": {"1"}}
    (hashes,) = keys._hash([pa.array(["other", "2"])])
    keys._hashes[file.path, "sid"] = hashes
    assert found(keys, tmp_path, [file], ["other"]) == {}


def test_what_was_read_is_not_read_again_until_it_is_forgotten(tmp_path: Path) -> None:
    """A file without the keys asked for may even be gone; another process remembers nothing."""
    files = [written(tmp_path, "a", ["1"]), written(tmp_path, "b", ["2"])]
    keys = Keys()
    found(keys, tmp_path, files, ["1"])
    (tmp_path / files[1].path).unlink()
    assert found(keys, tmp_path, files, ["1"]) == {"a": {"1"}}
    for forgetful in (pickle.loads(pickle.dumps(keys)), keys):
        forgetful.forget_all_but([files[0].path])
        with pytest.raises(FileNotFoundError):
            found(forgetful, tmp_path, files, ["1"])


def test_a_damaged_key_is_an_error_at_the_first_reading(tmp_path: Path) -> None:
    """One flipped bit that leaves the page readable and makes another key: its row would be landed a second time."""
    values = [sid("XR", n) for n in range(4)]
    table = pa.table({"sid": pa.array(values, pa.string())})
    file = written(tmp_path, "a", values)
    path = tmp_path / file.path
    pq.write_table(
        table, path, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
    )
    data = bytearray(path.read_bytes())
    data[data.index(values[2].encode()) + 33] ^= 1
    path.write_bytes(data)
    assert pq.read_table(path)["sid"].to_pylist() == [*values[:2], values[3], values[3]]
    with pytest.raises(OSError, match="CRC"):
        found(Keys(), tmp_path, [file], values)


def test_a_file_without_all_its_keys_is_an_error(tmp_path: Path) -> None:
    """Fewer rows than were committed, or a null for a key; another column may hold nulls."""
    file = written(tmp_path, "a", ["1", "2", "3"])
    with pytest.raises(pa.ArrowException, match="3 rows of 4"):
        found(Keys(), tmp_path, [replace(file, rows=4)], ["1"])
    pq.write_table(
        pa.table({"sid": pa.array(["1", None, "3"]), "other": pa.array([None, "2", "3"])}), tmp_path / file.path
    )
    with pytest.raises(pa.ArrowException, match="1 of them without a key"):
        found(Keys(), tmp_path, [file], ["1"])
    assert Keys().holding(tmp_path, by_path(file), "other", pa.array(["2"])) == {file.path: {"2"}}


def test_one_process_lands_as_many_fresh_ones_do(archive: Archive, tmp_path: Path) -> None:
    """What is remembered over 6 landings with rewrites and moves changes nothing."""
    other = tmp_path / "other"
    for number in range(6):
        rows = [*whole(number, done=None), result(number // 2, at=later(number), status=f"at {number}")]
        land_rows(archive, rows, now=later(number))
        land_rows(open_archive(other), rows, now=later(number))
    for table in (ADD_ON_RESULTS,):
        here, there = rows_by_key(archive, table), rows_by_key(open_archive(other), table)
        assert {key: row["status"] for key, row in here.items()} == {key: row["status"] for key, row in there.items()}
        assert len(here) == 6


def test_a_recording_is_looked_up_with_all_that_is_landed_of_it(archive: Archive) -> None:
    """Over several files; results are left out where they are not wanted, and unknown SIDs altogether."""
    land_rows(archive, [*whole(1), *whole(2)])
    land_rows(archive, [result(3, reference_sid=sid("RE", 1), done=None), payload(4, of=1)])
    both = [sid("RE", n) for n in (1, 2, 9)]
    there = landed_recordings(archive.newest(), both, since=NOON.date())
    assert set(there) == {sid("RE", 1), sid("RE", 2)}
    assert there[sid("RE", 1)].listed_at == NOON
    one = there[sid("RE", 1)].results
    assert set(one) == {sid("XR", 1), sid("XR", 3)}
    assert dict(one[sid("XR", 1)].contents) == {sid("XH", 1): True, sid("XH", 4): False}
    assert one[sid("XR", 1)].exported_at == NOON
    assert one[sid("XR", 3)].exported_at is None
    bare = landed_recordings(archive.newest(), both, since=None, with_results=lambda key, landed: key == sid("RE", 2))
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
    owing = owing_recordings(archive.newest(), now=later(2), kept=timedelta(days=30))
    assert owing == ({sid("RE", 1)} if owes else set())
    landed = landed_recordings(archive.newest(), [sid("RE", 1)], since=None, owing=owing)
    assert landed[sid("RE", 1)].owes is owes
