"""Deriving again: what other shapes made, a day at a time; what does not follow from its content is told."""

import contextlib
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipelines.erase.choice import erase_older, erase_sids
from pipelines.records.sids import recording_sid
from tests.warehouse.made_up import (
    NOON,
    Row,
    content,
    land_rows,
    later,
    payload,
    recording,
    result,
    rows_by_key,
    sid,
)
from warehouse.published.publish import publish
from warehouse.schema import ANALYSES, DERIVED, TRANSCRIPTS, TURNS
from warehouse.store.archive import Archive
from warehouse.store.names import PUBLISHED
from warehouse.transcripts.shapes import FOLDER
from warehouse.upkeep.compact import compact
from warehouse.upkeep.derive import derive_again
from warehouse.upkeep.repair import repair
from warehouse.upkeep.verify import verify

SAID = b'{"results": {"channels": [{"alternatives": [{"transcript": "hi you", "words": [' + (
    b'{"word": "hi", "start": 1, "end": 2, "speaker": 0}, {"word": "you", "start": 3, "end": 4, "speaker": 1}]}]}]}}'
)

KEYWORDS = b'{"keywords": ["hi"]}'

OWN = """
when = "json_exists(json, '$.keywords')"
has = ["$.keywords"]
text = "'key: ' || (json ->> '$.keywords[0]')"
"""


def said(number: int, data: bytes = SAID, *, day: int = 0, **values: Any) -> list[Row]:
    """A recording of a call with one result and a content of JSON."""
    done = later(24 * day)
    facts = {"content_type": "application/json", "label": "made up", **values}
    return [
        recording(number, call_sid=sid("CA", number)),
        result(number, done=done, payload_count=1, exported_at=NOON),
        payload(number, data=data, done=done, **facts),
        content(number, data, done=done, is_text=True),
    ]


def again(archive: Archive, **options: Any) -> int:
    """Derive again."""
    return derive_again(archive, now=later(1), run_id="test", **options)


def mismatches(archive: Archive) -> list[tuple[str, str]]:
    """Kind and subject of what `verify` finds in the archive itself."""
    return [(each.kind, each.subject) for each in verify(archive).mismatches if each.kind != "published"]


def own(archive: Archive, text: str = OWN) -> None:
    """Add a shape."""
    (archive.root / FOLDER).mkdir(exist_ok=True)
    (archive.root / FOLDER / "acme.toml").write_text(text)


def test_rows_are_derived_in_the_commit_of_their_content(archive: Archive) -> None:
    """With what the payload and the recording say of it."""
    load = land_rows(archive, [*said(1), *said(2, KEYWORDS)])
    assert {table.name: load.added[table.name] for table in DERIVED} == {"transcripts": 1, "turns": 2, "analyses": 1}
    row = rows_by_key(archive, TRANSCRIPTS)[sid("XH", 1)]
    assert (row["text"], row["vendor"], row["call_sid"]) == ("hi you", "deepgram", sid("CA", 1))
    assert (row["speakers"], row["channels"], row["label"]) == (["0", "1"], ["0"], "made up")
    turns = [(t["position"], t["speaker"], t["start_seconds"], t["text"]) for t in rows_by_key(archive, TURNS).values()]
    assert turns == [(1, "0", 1.0, "hi"), (2, "1", 3.0, "you")]
    assert rows_by_key(archive, ANALYSES)[sid("XH", 2)]["json"] == KEYWORDS.decode()
    assert again(archive) == 0
    assert mismatches(archive) == []


def test_rows_follow_their_payload_to_another_day_and_what_it_says(archive: Archive) -> None:
    """A day that becomes known, another label, a call that is known later: derived anew in the same commit."""
    rows = said(1)
    now: dict[str, Any] = {"content_type": "application/json", "label": "new"}
    moved = [result(1, at=later(1), done=later(24)), payload(1, at=later(1), done=later(24), **now)]
    land_rows(archive, rows[1:])
    assert rows_by_key(archive, TRANSCRIPTS)[sid("XH", 1)]["call_sid"] is None
    land_rows(archive, [rows[0], *moved])
    for table in (TRANSCRIPTS, TURNS):
        assert {row["completed_date"] for row in rows_by_key(archive, table).values()} == {later(24).date()}
    row = rows_by_key(archive, TRANSCRIPTS)[sid("XH", 1)]
    assert (row["call_sid"], row["label"]) == (sid("CA", 1), "new")
    assert len(rows_by_key(archive, TURNS)) == 2
    assert mismatches(archive) == []


def test_another_shape_derives_what_it_concerns_and_nothing_else(archive: Archive) -> None:
    """A new version too; what other shapes made stays as it is, and what nothing concerns is not read again."""
    land_rows(archive, [*said(1), *said(2, KEYWORDS), *said(3, KEYWORDS, day=1)])
    assert again(archive) == 0
    own(archive)
    assert again(archive) == 3  # tried before all others
    assert rows_by_key(archive, TRANSCRIPTS)[sid("XH", 3)]["text"] == "key: hi"
    assert rows_by_key(archive, ANALYSES) == {}
    before = rows_by_key(archive, TRANSCRIPTS)
    own(archive, OWN.replace("key:", "word:") + "version = 2")
    assert again(archive) == 2
    after = rows_by_key(archive, TRANSCRIPTS)
    assert after[sid("XH", 1)] == before[sid("XH", 1)]
    assert (after[sid("XH", 2)]["text"], after[sid("XH", 2)]["shape_version"]) == ("word: hi", 2)
    assert (archive.head().number, again(archive)) == (archive.head().number, 0)
    publish(archive, "duckdb", now=NOON)
    assert verify(archive).mismatches == ()


def test_a_pass_that_is_cut_off_goes_on_with_the_days_that_are_left(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day is one commit: what a reader sees of it is old or new; a row that is not there at all is made."""
    land_rows(archive, [row for number in range(3) for row in said(number, KEYWORDS, day=number)])
    without_derived(archive)
    seen: list[int] = []

    def cut(done: int, of: int) -> None:
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(archive, progress=cut)
    assert len(rows_by_key(archive, ANALYSES)) == 2
    assert mismatches(archive) == []  # what is not derived yet is no mismatch
    assert again(archive) == 1
    assert len(rows_by_key(archive, ANALYSES)) == 3
    assert seen == [0, 1, 2]


def without_derived(archive: Archive) -> None:
    """The archive as a version without these tables has written it."""
    head = archive.head()
    drop = [file for table in DERIVED for file in head.tables[table.name].values()]
    archive.commit(head, drop=drop, add=[], at=NOON, run_id="test")


@pytest.mark.parametrize("table", [TRANSCRIPTS, TURNS, ANALYSES], ids=lambda table: table.name)
def test_a_row_that_does_not_follow_from_its_content_is_told_and_made_good(archive: Archive, table: Any) -> None:
    """One that says something else, or is not there; a damaged file is left out and derived again."""
    land_rows(archive, [*said(1), *said(2, KEYWORDS)])
    again(archive)
    (file,) = archive.head().tables[table.name].values()
    rows = pa.Table.from_batches(archive.read(file, table))
    place = rows.schema.get_field_index("text" if "text" in rows.column_names else "json")
    forged = rows.set_column(place, rows.schema.field(place), pa.array(["forged"] * rows.num_rows))
    add = archive.seal(table, NOON.date(), forged.to_batches())
    archive.commit(archive.head(), drop=[file], add=[add], at=NOON, run_id="test")
    assert mismatches(archive) == [("derived", key) for key in rows[table.key].to_pylist()]
    (archive.root / add.path).write_bytes(b"damaged")
    repair(archive, now=NOON)
    assert all(not archive.head().tables[each.name] for each in DERIVED)
    again(archive, thorough=True)
    assert list(rows_by_key(archive, table)) == rows[table.key].to_pylist()
    assert mismatches(archive) == []


def test_an_erasure_reaches_what_was_derived(archive: Archive) -> None:
    """By recording and by age; no word of it is left in any file, whatever was joined before."""
    secret = SAID.replace(b"hi", b"zebra")
    land_rows(archive, [*said(1), *said(2, secret)])
    land_rows(archive, said(3, KEYWORDS, day=1))
    compact(archive, now=later(48), run_id="test", thorough=True)
    publish(archive, "duckdb", now=NOON)
    assert erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 2))], now=later(48))
    assert {row["payload_sid"] for row in rows_by_key(archive, TURNS).values()} == {sid("XH", 1)}
    assert list(rows_by_key(archive, TRANSCRIPTS)) == [sid("XH", 1)]
    assert not [path for path in archive.root.rglob("*") if path.is_file() and b"zebra" in path.read_bytes()]
    assert verify(archive).mismatches == ()
    assert erase_older(archive, "duckdb", days=60, now=later(24 * 61 + 1))
    assert (rows_by_key(archive, TRANSCRIPTS), rows_by_key(archive, TURNS)) == ({}, {})
    assert list(rows_by_key(archive, ANALYSES)) == [sid("XH", 3)]


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_both_destinations_answer_the_same(archive: Archive, destination: Any) -> None:
    """Also after what is published was brought up to date; a recording has its best transcript and who talks."""
    land_rows(archive, said(1))
    publish(archive, destination, now=NOON)
    plain = said(1, b'{"text": "hi"}')[2:]
    plain[0][1].update(sid=sid("XH", 9), label="other")
    plain[1][1].update(payload_sid=sid("XH", 9))
    land_rows(archive, [*plain, *said(2, KEYWORDS)], now=later(1))
    publish(archive, destination, now=NOON)
    with contextlib.closing(duckdb.connect(str(archive.root / PUBLISHED), read_only=True)) as db:
        calls = db.execute(
            "SELECT recording_sid, payload_sid, transcripts, turns, talk_seconds, results, unsafe FROM calls ORDER BY 1"
        ).fetchall()
        assert db.execute("SELECT count(*), count(DISTINCT recording_sid) FROM turns").fetchall() == [(2, 1)]
        assert db.execute("SELECT payload_sid, json ->> '$.keywords[0]' FROM analyses").fetchall() == [
            (sid("XH", 2), "hi")
        ]
    talk = [{"speaker": "0", "seconds": 1.0}, {"speaker": "1", "seconds": 1.0}]
    assert calls == [
        (sid("RE", 1), sid("XH", 1), 2, 2, talk, 1, 0),
        (sid("RE", 2), None, 0, 0, None, 1, 0),
    ]
    assert verify(archive).mismatches == ()
