"""The macros of a published file, asked in both destinations as `addon-export sql` asks them."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.warehouse.made_up import NOON, held, land_rows, payload, recording, result, sid
from warehouse.published.macros import MACROS
from warehouse.published.publish import publish
from warehouse.published.query import answer
from warehouse.store.opening import open_archive

Ask = Callable[[str], list[tuple[Any, ...]]]

DIARISED = {
    "transcript": "I want my money back. Money is gone.",
    "utterances": [
        {"speaker": "A", "at": 0.5, "text": "I want my money\nback."},
        {"speaker": "B", "at": 2.5, "text": "Money is gone."},
    ],
}
WORDS = {
    "results": [
        {
            "results": [
                {
                    "final": True,
                    "alternatives": [
                        {
                            "transcript": "so my money back please ",
                            "confidence": 0.9,
                            "timestamps": [
                                ["so", 0.1, 0.2],
                                ["my", 0.3, 0.4],
                                ["money", 1.5, 1.8],
                                ["back", 1.9, 2],
                                ["please", 2, 3],
                            ],
                        }
                    ],
                }
            ]
        }
    ]
}
SHAPE = """
description = "utterances"
when = "json_exists(json, '$.utterances')"
structure = '''
{"transcript": "VARCHAR", "utterances": [{"speaker": "VARCHAR", "at": "DOUBLE", "text": "VARCHAR"}]}
'''
text = "parsed.transcript"
turns = '''
list_transform(parsed.utterances, lambda u: {'speaker': u.speaker, 'start_seconds': u.at, 'text': u.text})
'''
"""
"""A shape of our own, so that nothing here hangs on a vendor's."""


@pytest.fixture(scope="module", params=["duckdb", "parquet"])
def ask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Ask a warehouse of three recordings: two vendors heard the first, one each the others, of which one is older."""
    archive = open_archive(tmp_path_factory.mktemp("macros") / "root")
    (archive.root / "_shapes").mkdir(parents=True)
    (archive.root / "_shapes" / "told.toml").write_text(SHAPE)
    contents = [(1, 1, DIARISED), (2, 1, {"text": "My money back, he said."}), (3, 3, WORDS), (4, 4, {"text": "money"})]
    rows = []
    for number, of, said in contents:
        done = NOON - timedelta(days=2 if of == 4 else 0)
        data = json.dumps(said).encode()
        rows += [
            recording(of, call_sid=sid("CA", of), start_time=NOON, duration_seconds=60),
            result(number, done=done, reference_sid=sid("RE", of)),
            payload(number, data=data, done=done, content_type="application/json", reference_sid=sid("RE", of)),
            held(number, data, "application/json", done=done),
        ]
    land_rows(archive, rows)
    publish(archive, request.param, now=NOON)

    def asked(sql: str) -> list[tuple[Any, ...]]:
        with answer(archive.root, sql) as found:
            return list(found.rows)

    return asked


def test_a_phrase_is_found_where_it_was_said(ask: Ask) -> None:
    """Whatever its case and white space: in its turn, else at its word; what most vendors heard comes first."""
    columns = "rank, call_sid, start_seconds, speaker, around, vendor, heard_by"
    assert ask(f"SELECT {columns} FROM search(' MONEY  back')") == [
        (1, sid("CA", 1), 0.5, "A", "I want my money\nback.", "told", ["generic", "told"]),
        (2, sid("CA", 3), 1.5, None, "so my money back please", "ibm_watson", ["ibm_watson"]),
    ]


def test_every_turn_is_a_row_and_a_newer_recording_comes_first(ask: Ask) -> None:
    """Of those that as many vendors heard as often."""
    rows = ask("SELECT recording_sid, position, times FROM search('money')")
    assert rows == [(sid("RE", 1), 1, 1), (sid("RE", 1), 2, 1), (sid("RE", 3), None, 1), (sid("RE", 4), None, 1)]


@pytest.mark.parametrize(
    ("arguments", "recordings"),
    [
        ("'money', first_day := '2026-11-20'", [1, 3]),
        ("'money', last_day := DATE '2026-11-19'", [4]),
        ("'money', by_vendor := 'generic'", [1, 4]),
        ("'money', by_speaker := 'B'", [1]),
        ("'money', most := 1", [1]),
        ("'money (back'", []),
        ("''", []),
        ("NULL", []),
    ],
)
def test_a_search_is_restricted_by_what_is_named(ask: Ask, arguments: str, recordings: list[int]) -> None:
    """What a phrase has of a pattern is taken as it is written."""
    rows = ask(f"SELECT DISTINCT recording_sid FROM search({arguments}) ORDER BY ALL")
    assert rows == [(sid("RE", number),) for number in recordings]


def test_the_best_transcript_is_told_turn_by_turn(ask: Ask) -> None:
    """The one that `calls` has; that of a payload is told as well, and what has no turns is one row."""
    assert ask(f"SELECT position, speaker, text FROM transcript('{sid('RE', 1)}')") == [
        (1, "A", "I want my money\nback."),
        (2, "B", "Money is gone."),
    ]
    assert ask(f"SELECT position, text FROM transcript('{sid('XH', 2)}')") == [(None, "My money back, he said.")]
    assert ask(f"SELECT * FROM transcript('{sid('RE', 9)}')") == []
    best = f"SELECT count(DISTINCT payload_sid) FROM calls JOIN transcript('{sid('RE', 1)}') USING (payload_sid)"
    assert ask(best) == [(1,)]


def test_a_day_is_that_of_a_time_zone(ask: Ask) -> None:
    """At two in the morning in UTC it is still yesterday in New York."""
    sql = "SELECT local_day(TIMESTAMPTZ '2026-11-20 02:00:00+00', 'America/New_York')::VARCHAR"
    assert ask(sql) == [("2026-11-19",)]


def test_macros_have_the_columns_and_the_comment_that_are_said(ask: Ask) -> None:
    """In order; the page of tables is made of them."""
    comments: dict[str, str] = dict(ask("SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal"))
    for macro in MACROS:
        assert comments[macro.name] == macro.description
        if macro.columns is not None:
            described = ask(f"SELECT json_keys(to_json(t)) FROM (SELECT 1) LEFT JOIN {macro.name}('x') t ON true")
            assert described == [(list(macro.columns),)]
