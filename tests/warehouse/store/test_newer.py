"""What a newer version wrote is read as far as that is right, and neither written to nor erased from."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.erase.choice import erase_older, erase_sids
from pipelines.records.sids import recording_sid
from tests.warehouse.made_up import NOON, land_rows, later, recording, sid, whole
from warehouse.errors import RepairWarehouse, Untrusted, UpdateProgram
from warehouse.published.publish import publish
from warehouse.published.query import answer
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.store.collect import collect
from warehouse.store.commits import commit_path
from warehouse.store.files import sha256_of
from warehouse.store.marker import read_marker, update_marker
from warehouse.store.names import MARKER
from warehouse.store.opening import existing_archive, open_archive
from warehouse.store.stamp import FORMAT, KEY, VERSION
from warehouse.transcripts.shapes import shapes
from warehouse.upkeep.compact import compact
from warehouse.upkeep.repair import repair
from warehouse.upkeep.verify import verify

ID = "fedcba9876543210" * 2

Body = dict[str, Any]


def write_commit(root: Path, change: Callable[[Body], object]) -> None:
    """Change the newest commit as another version would have written it: with a hash that is right."""
    path = commit_path(root, max(commits.numbers(root)))
    body = json.loads(path.read_bytes())
    change(body)
    body.pop("sha256", None)
    path.write_text(json.dumps({**body, "sha256": commits._fingerprint(body)}, separators=(",", ":")))


def needs(read: int, write: int) -> Callable[[Body], object]:
    """What a later version says of its format."""
    return lambda body: body.update(format={"read": read, "write": write}, version="7.1.2")


def tree(root: Path) -> Mapping[str, tuple[int, bytes]]:
    """Every name under the root, links and folders too, with its time and bytes."""
    return {
        path.relative_to(root).as_posix(): (
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
        )
        for path in (root, *root.rglob("*"))
    }


WRITERS: Mapping[str, Callable[[Archive], object]] = {
    "open": lambda archive: open_archive(archive.root),
    "land": lambda archive: land_rows(archive, whole(2)),
    "compact": lambda archive: compact(archive, now=later(48), run_id="test", thorough=True),
    "publish": lambda archive: publish(archive, "duckdb", now=later(1), afresh=True),
    "collect": lambda archive: collect(archive, now=NOON + timedelta(days=999), grace=timedelta(hours=1), keep=1),
    "erase": lambda archive: erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 1))], now=NOON),
    "retention": lambda archive: erase_older(archive, "duckdb", days=30, now=NOON + timedelta(days=99)),
    "rebuild --archive": lambda archive: repair(archive, now=NOON),
}


@pytest.fixture
def landed(archive: Archive) -> Archive:
    """Two landings of one day, published."""
    land_rows(archive, whole(1))
    land_rows(archive, whole(3), now=later(1))
    publish(archive, "parquet", now=NOON)
    return archive


@pytest.mark.parametrize(
    "change",
    [
        needs(FORMAT, FORMAT + 1),
        needs(FORMAT + 4, FORMAT + 9),
        lambda body: body.update(bloom="a member"),
        lambda body: body["tables"].update(summaries={}),
        lambda body: next(iter(body["tables"]["contents"].values())).update(crc=1),
        lambda body: body["format"].update(erase=2),
        lambda body: body.update(tables=[*body["tables"]]),
        lambda body: body["tables"].update(contents={f"contents/month=2026-11/{ID}.parquet": {}}),
        lambda body: body.pop("tables"),
    ],
    ids=["to write", "to read", "member", "table", "member of a file", "format", "layout", "partitions", "no tables"],
)
def test_what_is_newer_is_refused_by_whatever_writes_and_nothing_is_touched(
    landed: Archive, change: Callable[[Body], object]
) -> None:
    """One sentence with both versions and both formats; not a time stamp in the tree is another."""
    write_commit(landed.root, change)
    before = tree(landed.root)
    for name, act in WRITERS.items():
        with pytest.raises(UpdateProgram, match=rf"this is {VERSION}, which knows format {FORMAT}") as refused:
            act(landed)
        assert "damaged" not in str(refused.value), name
        assert tree(landed.root) == before, name


def test_a_newer_format_that_can_be_read_is_read(landed: Archive) -> None:
    """`verify` and `sql` answer; the sentence of a refusal names the version that wrote it."""
    write_commit(landed.root, needs(FORMAT, FORMAT + 1))
    before = tree(landed.root)
    reader = existing_archive(landed.root)
    assert verify(reader).mismatches == ()
    with answer(landed.root, "SELECT count(*) FROM recordings") as answered:
        assert list(answered.rows) == [(2,)]
    assert tree(landed.root) == before
    with pytest.raises(UpdateProgram, match=re.escape(f"addon-export 7.1.2 in format {FORMAT + 1}")):
        open_archive(landed.root)


def test_a_newer_format_that_cannot_be_read_is_not_called_damaged(landed: Archive) -> None:
    """Reading says the same sentence."""
    write_commit(landed.root, needs(FORMAT + 1, FORMAT + 1))
    with pytest.raises(UpdateProgram), landed.reading():
        pass
    with pytest.raises(UpdateProgram, match=re.escape("7.1.2")):
        verify(landed)


def test_a_damaged_number_is_damage(landed: Archive) -> None:
    """The hash is wrong and the version is this one: nobody newer wrote it."""
    path = commit_path(landed.root, landed.head().number)
    path.write_bytes(path.read_bytes().replace(b'"read":1', b'"read":9'))
    with pytest.raises(RepairWarehouse, match="is damaged"):
        landed.head()


@pytest.mark.parametrize("newer", ["column", "stamp"])
def test_a_file_with_more_than_this_version_knows_is_not_written_anew(landed: Archive, newer: str) -> None:
    """Its rows would lose it; what needs not be rewritten is landed."""
    path = next(path for path in landed.head().tables["recordings"])
    write_newer(landed.root, path, newer)
    before = tree(landed.root)
    for name in ("compact", "erase", "publish", "rebuild --archive"):
        with pytest.raises(UpdateProgram, match="recordings/"):
            WRITERS[name](landed)
        assert tree(landed.root) == before
    held = pq.read_table(landed.root / path, partitioning=None)["sid"].to_pylist()
    number = next(number for number in (1, 3) if sid("RE", number) in held)
    with pytest.raises(UpdateProgram):
        land_rows(landed, [recording(number, at=later(9), status="absent")], now=later(9))
    land_rows(landed, whole(77), now=later(10))
    assert pq.read_metadata(landed.root / path).num_columns == len(pq.read_schema(landed.root / path))


def write_newer(root: Path, path: str, newer: str) -> None:
    """Give a live file a column, or a stamp, of a later version."""
    rows = pq.read_table(root / path, partitioning=None)
    if newer == "column":
        rows = rows.append_column("sentiment", pa.array(["calm"] * rows.num_rows))
    else:
        stamp = json.dumps({"format": {"read": FORMAT, "write": FORMAT + 1}, "version": "7.1.2"}).encode()
        rows = rows.replace_schema_metadata({**(rows.schema.metadata or {}), KEY: stamp})
    pq.write_table(rows, root / path, write_page_checksum=True)
    facts = {"bytes": (root / path).stat().st_size, "sha256": sha256_of(root / path)}
    write_commit(root, lambda body: body["tables"]["recordings"][path].update(facts))


def test_a_marker_of_a_newer_version_is_enough(landed: Archive) -> None:
    """It is written before the first commit is."""
    body = json.loads((landed.root / MARKER).read_text())
    body.update(format={"read": 1, "write": FORMAT + 1}, written_by="9.0")
    (landed.root / MARKER).write_text(json.dumps(body))
    before = tree(landed.root)
    for act in WRITERS.values():
        with pytest.raises(UpdateProgram, match=r"addon-export 9\.0"):
            act(landed)
    with pytest.raises(UpdateProgram):
        update_marker(landed, lambda marker: marker)
    assert tree(landed.root) == before


def test_what_the_marker_holds_beyond_is_written_back(landed: Archive) -> None:
    """Members of a later version that lets this one write; two changes after one another are both there."""
    body = json.loads((landed.root / MARKER).read_text())
    (landed.root / MARKER).write_text(json.dumps({**body, "hints": {"a": [1]}}))
    update_marker(landed, lambda marker: marker.with_setting("one", 1))
    update_marker(landed, lambda marker: marker.with_setting("two", [2]))
    found = read_marker(landed.root)
    assert found is not None
    assert {name: found.settings.get(name) for name in ("one", "two")} == {"one": 1, "two": [2]}
    assert found.others == {"hints": {"a": [1]}}


def test_a_damaged_marker_is_said_and_made_anew(landed: Archive) -> None:
    """`verify` names it, `rebuild --archive` sets it aside."""
    (landed.root / MARKER).write_bytes(b'{"format": {"re')
    assert [mismatch.subject for mismatch in verify(landed).mismatches] == [MARKER]
    repair(open_archive(landed.root), now=NOON)
    assert verify(landed).mismatches == ()
    assert (landed.root / "_damaged" / MARKER).read_bytes() == b'{"format": {"re'


def test_a_shape_of_a_newer_format_is_left_out_with_its_reason(tmp_path: Path) -> None:
    """The other shapes are used."""
    (tmp_path / "_shapes").mkdir()
    for name, number in (("later", FORMAT + 1), ("now", FORMAT)):
        (tmp_path / "_shapes" / f"{name}.toml").write_text(f'format = {number}\nwhen = "true"\ntext = "label"\n')
    found = shapes(tmp_path)
    assert [*found.broken] == ["later.toml"]
    assert "format" in found.broken["later.toml"]
    assert found.usable[0].vendor == "now"


# Commits that nobody of us wrote


@pytest.mark.parametrize(
    "name",
    [
        "../victim.parquet",
        "contents/../../victim.parquet",
        "/etc/hostname",
        "contents/./x.parquet",
        "contents//x.parquet",
        "contents/\u0000.parquet",
    ],
)
def test_a_commit_that_names_files_elsewhere_is_refused_and_nothing_there_is_touched(
    landed: Archive, name: str
) -> None:
    """By whatever reads or writes; `rebuild --archive` takes what was live from the published file."""
    victim = landed.root.parent / "victim.parquet"
    victim.write_bytes(b"somebody's")
    facts = {"rows": 1, "bytes": 10, "sha256": "0" * 64}
    write_commit(landed.root, lambda body: body["tables"]["contents"].update({name: facts}))
    with pytest.raises(RepairWarehouse, match="no version of this program made"):
        landed.head()
    with pytest.raises(RepairWarehouse), answer(landed.root, "SELECT 1"):
        pass
    for act in ("land", "compact", "publish", "erase"):
        with pytest.raises(RepairWarehouse):
            WRITERS[act](landed)
    repair(landed, now=NOON)  # from the published file, which shows this very commit
    publish(landed, "parquet", now=NOON, afresh=True)
    assert verify(landed).mismatches == ()
    assert victim.read_bytes() == b"somebody's"


def test_a_commit_may_name_a_file_under_its_own_table_only(landed: Archive) -> None:
    """The name of another table's file is not one of its own."""
    path, facts = next(iter(json.loads(commit_path(landed.root, 2).read_bytes())["tables"]["loads"].items()))
    write_commit(landed.root, lambda body: body["tables"]["contents"].update({path: facts}))
    with pytest.raises(UpdateProgram, match="another layout"):
        landed.head()


@pytest.mark.parametrize("facts", [{"rows": "1"}, {"rows": 10**30}, {"rows": True}, {"bytes": -1}, {"sha256": "../x"}])
def test_a_commit_whose_numbers_are_none_is_not_ours(landed: Archive, facts: Mapping[str, object]) -> None:
    """Where it is loaded, and not as a disk that fails when somebody counts with them."""
    write_commit(landed.root, lambda body: next(iter(body["tables"]["contents"].values())).update(facts))
    with pytest.raises(UpdateProgram, match="another layout"):
        landed.head()


def test_commits_behind_a_link_are_not_read(landed: Archive) -> None:
    """By whoever only looks either: an empty folder there would read as an archive with nothing in it."""
    folder = commit_path(landed.root, 2).parent
    folder.rename(landed.root.parent / "elsewhere")
    (landed.root.parent / "empty").mkdir()
    folder.symlink_to(landed.root.parent / "empty")
    with pytest.raises(Untrusted, match="_commits is a link"):
        landed.head()
