"""Landing merges and never loses: one rule a test."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tests.warehouse.made_up import (
    NOON,
    bad,
    batch,
    content,
    land_rows,
    later,
    live_files,
    logical,
    payload,
    recording,
    result,
    rows_by_key,
    sid,
    whole,
)
from warehouse.errors import FixWarehouse, RepairWarehouse, Untrusted
from warehouse.land import land
from warehouse.schema import (
    ADD_ON_PAYLOADS,
    ADD_ON_RESULTS,
    CONTENTS,
    DELETIONS,
    LOADS,
    QUARANTINE,
    RECORDINGS,
    Table,
)
from warehouse.store.archive import Archive
from warehouse.store.opening import open_archive

XR, XH = sid("XR", 1), sid("XH", 1)
NEXT_DAY = NOON + timedelta(days=1)


def test_landing_the_same_batch_twice_makes_one_commit(archive: Archive) -> None:
    """The second landing says that nothing was new and leaves the newest commit as it is."""
    rows = [*whole(1), *whole(2, b"")]
    first = land_rows(archive, rows)
    before = logical(archive, without=())
    again = land_rows(archive, rows, now=later(1))
    assert (first.load_id is not None, again.load_id, again.commit) == (True, None, first.commit)
    assert logical(archive, without=()) == before


def test_landing_less_later_loses_nothing(archive: Archive) -> None:
    """Empty batches and parts of a landed batch leave every row where it is."""
    rows = [*whole(1), *whole(2, done=None), *whole(3, done=NEXT_DAY)]
    land_rows(archive, rows)
    before = logical(archive, without=())
    land(archive, {}, run_id="test", now=later(1))
    for part in ([], rows[:1], rows[1:2], rows[2:4], rows[3:4], rows[5:]):
        land_rows(archive, part, now=later(2))
    assert logical(archive, without=()) == before


def test_a_row_that_vanished_at_the_source_stays_when_its_neighbours_change(archive: Archive) -> None:
    """Rewriting a day's file for one row carries the other rows of that day over."""
    land_rows(archive, [*whole(1), *whole(2)])
    land_rows(archive, [result(1, at=later(1), status="failed")])
    found = rows_by_key(archive, ADD_ON_RESULTS)
    assert {key: row["status"] for key, row in found.items()} == {XR: "failed", sid("XR", 2): "completed"}


def test_the_later_observation_wins_whatever_the_order_of_landing(archive: Archive) -> None:
    """A late backfill with older facts does not undo newer ones."""
    land_rows(archive, [result(1, at=later(2), status="newer")])
    land_rows(archive, [result(1, at=later(1), status="older")])
    assert rows_by_key(archive, ADD_ON_RESULTS)[XR]["status"] == "newer"
    land_rows(archive, [result(1, at=later(3), status="newest")])
    assert rows_by_key(archive, ADD_ON_RESULTS)[XR]["status"] == "newest"


@pytest.mark.xfail(
    strict=True,
    reason="unchanged rows are not landed again, so that a later observation saw the same is not known afterwards",
)
def test_a_later_observation_that_saw_no_change_also_outweighs_older_ones(archive: Archive) -> None:
    """Status a at one, a again at three, and then a backfill that saw b at two: still a."""
    for hour, status in ((1, "a"), (3, "a"), (2, "b")):
        land_rows(archive, [result(1, at=later(hour), status=status)])
    assert rows_by_key(archive, ADD_ON_RESULTS)[XR]["status"] == "a"


def test_an_older_observation_fills_what_the_newer_one_did_not_know(archive: Archive) -> None:
    """Null means unknown, so any known value is better."""
    land_rows(archive, [result(1, at=later(2), add_on_sid=None, status="newer")])
    land_rows(archive, [result(1, at=later(1), add_on_sid="XB1", status="older")])
    row = rows_by_key(archive, ADD_ON_RESULTS)[XR]
    assert (row["add_on_sid"], row["status"]) == ("XB1", "newer")


def test_nulls_never_blank_values(archive: Archive) -> None:
    """A newer observation that knows only the SID and a new status takes nothing away."""
    full = [
        result(1, add_on_sid="XB1", payload_count=2, exported_at=NOON, deleted_at=NOON, raw='{"a": 1}'),
        payload(1, data=b"x", label="transcript"),
        content(1, b"x"),
        recording(1, call_sid="CA1", channels=2, price=None),
    ]
    land_rows(archive, full)
    before = {table.name: rows_by_key(archive, table) for table in (ADD_ON_RESULTS, ADD_ON_PAYLOADS, RECORDINGS)}
    for table, key in ((ADD_ON_RESULTS, XR), (ADD_ON_PAYLOADS, XH), (RECORDINGS, sid("RE", 1))):
        changed = "label" if table is ADD_ON_PAYLOADS else "status"
        land_rows(archive, [(table, {"sid": key, changed: "changed", "observed_at": later(1)})])
        row = rows_by_key(archive, table)[key]
        assert row[changed] == "changed"
        blanked = [name for name, value in before[table.name][key].items() if value is not None and row[name] is None]
        assert blanked == []


def test_two_observations_in_one_batch_count_as_if_landed_one_by_one(archive: Archive) -> None:
    """The later one wins, and what only the older one knew is kept."""
    land_rows(
        archive,
        [
            result(1, at=later(1), status="older", add_on_sid="XB1", exported_at=NOON),
            result(1, at=later(2), status="newer", add_on_sid=None),
        ],
    )
    row = rows_by_key(archive, ADD_ON_RESULTS)[XR]
    assert (row["status"], row["add_on_sid"], row["exported_at"]) == ("newer", "XB1", NOON)


def test_odd_raw_text_neither_stops_a_landing_nor_changes(archive: Archive) -> None:
    """The text Twilio sent survives a change of its row and of a neighbour, character by character."""
    odd = [
        '{"half a surrogate": "\\ud800"}',
        '{"huge": 1e999}',
        '{"no number": NaN}',
        '{"zero": "\\u0000"}',
        "not JSON",
        "",
        "[" * 500 + "]" * 500,
    ]
    land_rows(archive, [result(99), *(result(n, raw=raw) for n, raw in enumerate(odd))])
    land_rows(archive, [result(99, at=later(1), status="changed")])
    land_rows(archive, [result(n, at=later(1), status="changed", raw=raw) for n, raw in enumerate(odd)])
    rows = rows_by_key(archive, ADD_ON_RESULTS)
    assert [rows[sid("XR", n)]["raw"] for n in range(len(odd))] == odd
    assert {row["status"] for row in rows.values()} == {"changed"}


def test_a_result_moves_to_its_day_with_payloads_and_contents_in_one_commit(archive: Archive) -> None:
    """Nothing of it is left in the null partition, and no commit shows it half moved."""
    land_rows(
        archive,
        [*whole(1, b"moved", done=None), payload(7, of=1, data=b"too", done=None), content(7, b"too", done=None)],
    )
    land_rows(archive, whole(2, b"stays", done=None))
    load = land_rows(archive, [result(1, at=later(1))])
    assert load.commit == 3
    for table, keys in ((ADD_ON_RESULTS, {XR}), (ADD_ON_PAYLOADS, {XH, sid("XH", 7)}), (CONTENTS, {XH, sid("XH", 7)})):
        found = rows_by_key(archive, table)
        assert {key for key, row in found.items() if row["completed_date"] == NOON.date()} == keys
        assert {key for key, row in found.items() if row["completed_date"] is None} == set(found) - keys
    assert rows_by_key(archive, CONTENTS)[XH]["content"] == b"moved"


def test_a_result_moves_when_its_day_changes(archive: Archive) -> None:
    """A corrected `date_completed` takes payloads and contents along, together with a payload that came with it."""
    land_rows(archive, whole(1))
    land_rows(
        archive,
        [
            result(1, at=later(1), done=NEXT_DAY),
            payload(2, of=1, data=b"2", done=NEXT_DAY),
            content(2, b"2", done=NEXT_DAY),
        ],
    )
    for table in (ADD_ON_RESULTS, ADD_ON_PAYLOADS, CONTENTS):
        assert {row["completed_date"] for row in rows_by_key(archive, table).values()} == {NEXT_DAY.date()}


def test_the_day_is_the_utc_day(archive: Archive) -> None:
    """A time given with another offset falls on its UTC day, also when it is merged."""
    land_rows(archive, [result(1, done=None)])
    ahead = (NOON + timedelta(hours=12, minutes=-1)).astimezone(tz=None)
    land_rows(
        archive,
        [(ADD_ON_RESULTS, {"sid": XR, "date_completed": ahead, "completed_date": None, "observed_at": later(1)})],
    )
    assert rows_by_key(archive, ADD_ON_RESULTS)[XR]["completed_date"] == NOON.date()


def test_a_content_joins_its_payloads_day_even_when_the_listing_did_not_know_it(archive: Archive) -> None:
    """An older listing without the day brings the content of a payload whose day is landed."""
    land_rows(archive, [result(1, at=later(2)), payload(1, at=later(2))])
    land_rows(archive, [payload(1, data=b"x", done=None), content(1, b"x", done=None)])
    assert rows_by_key(archive, ADD_ON_PAYLOADS)[XH]["completed_date"] == NOON.date()
    assert rows_by_key(archive, CONTENTS)[XH]["completed_date"] == NOON.date()


def test_a_new_payload_joins_its_results_day_even_when_the_listing_did_not_know_it(archive: Archive) -> None:
    """An older listing without the day brings a payload nobody had seen."""
    land_rows(archive, [result(1, at=later(2))])
    land_rows(archive, [result(1, done=None), payload(1, data=b"x", done=None), content(1, b"x", done=None)])
    assert rows_by_key(archive, ADD_ON_RESULTS)[XR]["completed_date"] == NOON.date()
    assert rows_by_key(archive, ADD_ON_PAYLOADS)[XH]["completed_date"] == NOON.date()
    assert rows_by_key(archive, CONTENTS)[XH]["completed_date"] == NOON.date()


def test_a_content_once_landed_is_never_replaced(archive: Archive) -> None:
    """Another content for the same payload goes to quarantine with its bytes, once, and the first one stays."""
    land_rows(archive, whole(1, b"first"))
    for hour in (1, 2):
        land_rows(archive, [payload(1, data=b"second", at=later(hour)), content(1, b"second")], now=later(hour))
    assert rows_by_key(archive, CONTENTS)[XH]["content"] == b"first"
    row = rows_by_key(archive, ADD_ON_PAYLOADS)[XH]
    assert (row["content_length"], row["content_sha256"]) == (5, payload(1, data=b"first")[1]["content_sha256"])
    quarantined = list(rows_by_key(archive, QUARANTINE).values())
    assert [(q["kind"], q["sid"], q["parent_sid"], q["raw"]) for q in quarantined] == [("content", XH, XR, b"second")]


def test_two_contents_for_one_payload_in_one_batch_are_told_apart(archive: Archive) -> None:
    """One is landed with its own hash, the other goes to quarantine."""
    land_rows(
        archive,
        [
            result(1),
            payload(1, data=b"one"),
            content(1, b"one"),
            payload(1, data=b"two", at=later(1)),
            content(1, b"two"),
        ],
    )
    landed = rows_by_key(archive, CONTENTS)[XH]["content"]
    (quarantined,) = rows_by_key(archive, QUARANTINE).values()
    assert {landed, quarantined["raw"]} == {b"one", b"two"}
    assert rows_by_key(archive, ADD_ON_PAYLOADS)[XH]["content_sha256"] == payload(1, data=landed)[1]["content_sha256"]


def test_equal_input_is_quarantined_once(archive: Archive) -> None:
    """The same bad bytes met again make no new row; other bytes do."""
    for given in (
        bad("The payload has no SID.", b"a"),
        bad("The payload has no SID.", b"a"),
        bad("The payload has no SID.", b"b"),
    ):
        land(archive, given, run_id="test", now=NOON)
    assert sorted(row["raw"] for row in rows_by_key(archive, QUARANTINE).values()) == [b"a", b"b"]


def test_every_table_given_is_landed_or_refused(archive: Archive) -> None:
    """Rows of `deletions` are not dropped without a word."""
    row = {"deletion_id": "1", "add_on_result_sid": XR, "step": "intent", "step_at": NOON}
    given = {DELETIONS.name: pa.Table.from_pylist([row], schema=DELETIONS.schema)}
    try:
        land(archive, given, run_id="test", now=NOON)
    except (ValueError, KeyError):
        return
    assert set(rows_by_key(archive, DELETIONS)) == {"1"}


def test_a_load_says_what_was_landed_by_which_run(archive: Archive) -> None:
    """The load and its row in `loads` count new and changed rows and the bytes of contents."""
    land_rows(archive, whole(1, b"12345"))
    load = land(
        archive, batch([*whole(2, b"123"), result(1, at=later(1), status="failed")]), run_id="run 7", now=later(1)
    )
    assert (load.added["add_on_results"], load.changed["add_on_results"], load.content_bytes) == (1, 1, 3)
    row = rows_by_key(archive, LOADS)[load.load_id or ""]
    assert (row["run_id"], row["loaded_at"], row["add_on_results"], row["contents"], row["content_bytes"]) == (
        "run 7",
        later(1),
        2,
        1,
        3,
    )
    written = {row["load_id"] for row in rows_by_key(archive, ADD_ON_RESULTS).values()}
    assert written == {load.load_id}


@pytest.mark.parametrize(
    "name",
    ["it's a root", "größe 20%", 'say "hi"', "account_sid=AC1/sid=x/completed_date=2020-01-01"],
    ids=["quote", "unicode", "double quote", "name=value"],
)
def test_the_name_of_the_root_does_not_change_what_is_read(tmp_path: Path, name: str) -> None:
    """Quotes, spaces and `name=value` folders above the archive are names and nothing else, or refused."""
    try:
        archive = open_archive(tmp_path / name)
    except FixWarehouse:
        return
    land_rows(archive, whole(1))
    land_rows(archive, [result(1, at=later(1), status="changed")])
    row = rows_by_key(archive, ADD_ON_RESULTS)[XR]
    assert (row["account_sid"], row["completed_date"], row["status"]) == (sid("AC", 0), NOON.date(), "changed")


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
@pytest.mark.parametrize("table", [ADD_ON_RESULTS, CONTENTS], ids=lambda table: table.name)
def test_damage_is_never_carried_into_a_new_file(archive: Archive, table: Table, damage: str) -> None:
    """A landing that would rewrite a damaged file says so and lands nothing."""
    land_rows(archive, [row for n in range(1, 30) for row in whole(n, b"made up %d " % n * 40, done=None)])
    head = archive.head()
    (path,) = head.tables[table.name]
    file = archive.root / path
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        data[len(data) // 3] ^= 0x10
        file.write_bytes(data[:-20] if damage == "truncated" else data)
    with pytest.raises(RepairWarehouse):
        land_rows(archive, [result(1, at=later(1))])
    assert archive.head() == head


def test_a_landing_that_fails_leaves_no_file(archive: Archive) -> None:
    """What is sealed and never committed would fill a full disk for a day; what is live stays."""
    land_rows(archive, whole(1))
    (archive.root / QUARANTINE.name).write_text("in the way of a folder")
    with pytest.raises(Untrusted, match="where a folder is needed"):
        land(archive, {**batch(whole(2)), **bad("unreadable")}, run_id="test", now=NOON)
    assert {path.relative_to(archive.root).as_posix() for path in archive.root.rglob("*.parquet")} == live_files(
        archive
    )


def test_superseded_files_are_not_live_and_live_files_are_whole(archive: Archive) -> None:
    """After rewriting, the commit names exactly one file for the day, and it is on the disk as named."""
    land_rows(archive, [result(1), result(2)])
    (old,) = archive.head().tables[ADD_ON_RESULTS.name]
    land_rows(archive, [result(2, at=later(1), status="failed")])
    assert old not in live_files(archive)
    for files in archive.head().tables.values():
        for path, file in files.items():
            assert (archive.root / path).stat().st_size == file.bytes
