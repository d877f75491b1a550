"""What the source shows is a function of the instant: finishing, retention, deletion, loss."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sandbox.index import Cursor, Index
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.values import FINAL, Step
from pipelines.sandbox.world import World
from tests.pipelines.conftest import NOW

ACCOUNT = "AC" + "0" * 31 + "1"
HOUR = timedelta(hours=1)


def shown(world: World, now: datetime) -> list[str]:
    """SIDs of all results shown."""
    return [true.result.sid for true in world.truth(now)]


def test_a_result_passes_through_every_open_status_and_then_finishes(empty: World) -> None:
    """Five statuses in order; date_updated moves with each, date_completed is null until the last."""
    recording = empty.add_recording(ACCOUNT, NOW, duration=timedelta(0))
    result = empty.add_result(recording, takes=timedelta(minutes=10))
    states = [result.at(NOW + timedelta(minutes=minute)) for minute in range(12)]

    assert list(dict.fromkeys(state.status for state in states)) == [
        "init",
        "queued",
        "in-progress",
        "processing",
        "completed",
    ]
    assert [state.date_completed for state in states[:10]] == [None] * 10
    assert states[10].date_completed == states[11].date_completed == NOW + timedelta(minutes=10)
    updated = [state.date_updated for state in states]
    assert updated == sorted(updated)
    assert len(set(updated)) == 5


def test_payloads_come_with_completion(empty: World) -> None:
    """None before the result is completed."""
    result = empty.add_result(empty.add_recording(ACCOUNT, NOW, duration=timedelta(0)), takes=HOUR)
    payload = empty.add_payload(result, b"{}")

    assert list(empty.list_payloads(result.sid, NOW + HOUR - timedelta(seconds=1))) == []
    assert list(empty.list_payloads(result.sid, NOW + HOUR)) == [payload]


def test_a_late_payload_joins_a_completed_result(empty: World) -> None:
    """It is there from its own date on."""
    result = empty.add_result(empty.add_recording(ACCOUNT, NOW))
    first = empty.add_payload(result, b"1")
    late = empty.add_payload(result, b"2", date_created=NOW + 5 * HOUR)

    assert list(empty.list_payloads(result.sid, NOW + 4 * HOUR)) == [first]
    assert list(empty.list_payloads(result.sid, NOW + 5 * HOUR)) == [late, first]


def test_results_vanish_thirty_days_after_creation(empty: World) -> None:
    """Shown to the last second, then gone, with payloads and all; the recording stays."""
    recording = empty.add_recording(ACCOUNT, NOW, duration=timedelta(0))
    result = empty.add_result(recording)
    end = NOW + timedelta(days=30)

    assert shown(empty, end - timedelta(seconds=1)) == [result.sid]
    assert shown(empty, end) == []
    assert empty.find_result(recording.sid, result.sid, end) is None
    assert empty.find_recording(ACCOUNT, recording.sid, end, include_soft_deleted=False) == recording


def test_deleted_recordings_are_listed_forty_days(empty: World) -> None:
    """When asked for, up to the last second of the fortieth day; their results meanwhile stay."""
    recording = empty.add_recording(ACCOUNT, NOW - HOUR)
    result = empty.add_result(recording)
    empty.delete(recording, NOW)

    def listed(at: datetime, *, soft: bool) -> int:
        return len(list(empty.list_recordings(ACCOUNT, at, include_soft_deleted=soft)))

    end = NOW + timedelta(days=40)
    assert [listed(NOW - HOUR / 2, soft=False), listed(NOW, soft=False)] == [1, 0]
    assert [listed(end - timedelta(seconds=1), soft=True), listed(end, soft=True)] == [1, 0]
    assert shown(empty, NOW + HOUR) == [result.sid]


def test_touching_moves_date_updated_only(empty: World) -> None:
    """As when the source changes a row after it was final."""
    result = empty.add_result(empty.add_recording(ACCOUNT, NOW))
    before = result.at(NOW + 2 * HOUR)
    empty.put(replace(result, touched_at=NOW + HOUR))
    after = empty.results[result.sid].at(NOW + 2 * HOUR)

    assert after == replace(before, date_updated=NOW + HOUR)
    assert after != before


def test_lost_rows_were_never_there(empty: World) -> None:
    """A lost payload, result or recording is in no list."""
    recordings = [empty.add_recording(ACCOUNT, NOW - i * HOUR) for i in (1, 2)]
    results = [empty.add_result(recording) for recording in recordings]
    payload = empty.add_payload(results[0], b"")

    empty.lose(payload.sid)
    assert list(empty.list_payloads(results[0].sid, NOW)) == []
    empty.lose(results[0].sid)
    assert shown(empty, NOW) == [results[1].sid]
    empty.lose(recordings[1].sid)
    assert list(empty.list_recordings(ACCOUNT, NOW)) == [recordings[0]]


def test_a_recording_shows_price_and_duration_when_it_ends(empty: World) -> None:
    """Until then it is in progress."""
    recording = empty.add_recording(ACCOUNT, NOW, duration=HOUR)

    assert recording.status(NOW + HOUR / 2) == "in-progress"
    assert recording.date_updated(NOW + HOUR / 2) == NOW
    assert recording.status(NOW + HOUR) == "completed"
    assert recording.date_updated(NOW + HOUR) == NOW + HOUR


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abcd")), max_size=30),
    st.tuples(st.integers(0, 9), st.sampled_from("abcd")),
)
def test_an_index_walks_as_a_sorted_list_would(rows: list[tuple[int, str]], place: tuple[int, str]) -> None:
    """From any place, the older ones newest first and the newer ones oldest first, each once."""
    index = Index()
    keys = [(NOW + minutes * HOUR, sid) for minutes, sid in rows]
    for key in keys:
        index.add(key)
    at = (NOW + place[0] * HOUR, place[1])
    ordered = sorted(set(keys))

    assert list(index.walk(None)) == [sid for _, sid in reversed(ordered)]
    assert list(index.walk(Cursor(at, newer=False))) == [sid for t, sid in reversed(ordered) if (t, sid) < at]
    assert list(index.walk(Cursor(at, newer=True))) == [sid for t, sid in ordered if (t, sid) > at]
    window = index.walk(None, since=NOW + 3 * HOUR, until=NOW + 6 * HOUR)
    assert list(window) == [sid for t, sid in reversed(ordered) if NOW + 3 * HOUR <= t < NOW + 6 * HOUR]
    index.discard(at)
    assert list(index.walk(None)) == [sid for t, sid in reversed(ordered) if (t, sid) != at]


# -- the made-up world ------------------------------------------------------------------------------


def facts(world: World) -> list[object]:
    """Everything in it."""
    return [
        *world.accounts.values(),
        *world.recordings.values(),
        *world.results.values(),
        *world.payloads.values(),
    ]


def test_the_same_seed_gives_the_same_bytes() -> None:
    """And another seed gives others."""
    assert facts(made_up_world(now=NOW, recordings=20)) == facts(made_up_world(now=NOW, recordings=20))
    other = made_up_world(now=NOW, recordings=20, seed=8)
    assert facts(made_up_world(now=NOW, recordings=20)) != facts(other)


@pytest.mark.parametrize("recordings", [1, 60])
def test_there_is_something_of_every_status_and_the_open_ones_finish(recordings: int) -> None:
    """All eight statuses at `now`; five hours later nothing of the showcase is open."""
    world = made_up_world(now=NOW, recordings=recordings, subaccounts=0)
    statuses = Counter(true.state.status for true in world.truth(NOW))
    first = next(iter(world.recordings))
    later = [result.at(NOW + 5 * HOUR).status for result in world.list_results(first, NOW + 5 * HOUR)]

    assert len(statuses) == 8
    assert len(later) == 8
    assert set(later) <= set(FINAL)


def test_the_made_up_world_has_the_awkward_cases(world: World) -> None:
    """No results, deleted with results, other offsets, several payloads, final without date."""
    truth = list(world.truth(NOW))
    with_results = {true.recording.sid for true in truth}

    assert world.recordings.keys() - with_results
    assert any(true.recording.deleted_at for true in truth)
    assert any(row.date_created.utcoffset() for row in world.recordings.values())
    assert any(len(true.payloads) > 1 for true in truth)
    assert any(true.state.status == "failed" and true.state.date_completed is None for true in truth)
    assert all((true.state.date_completed is None) for true in truth if true.state.status not in FINAL)
    assert all(true.payloads for true in truth if true.state.status == "completed")
    assert len(world.accounts) == 2
    days = {row.date_created.astimezone(UTC).date() for row in world.recordings.values()}
    assert NOW.date() in days
    assert len(days) > 20


def test_contents_are_json_text_and_binary_and_read_well(world: World) -> None:
    """JSON parses, text is UTF-8, audio is not; nothing is left unfilled; no two transcripts are equal."""
    by_type: dict[str, list[bytes]] = {}
    for payload in world.payloads.values():
        by_type.setdefault(payload.content_type, []).append(payload.content)

    assert by_type.keys() == {"application/json", "text/plain; charset=utf-8", "audio/x-wav"}
    bodies = [json.loads(content) for content in by_type["application/json"]]
    said = [body["transcription"] for body in bodies if "transcription" in body]
    said += [body["media"]["transcripts"]["text"] for body in bodies if "transcripts" in body.get("media", {})]
    assert all("Harbor Lane Furniture, this is" in text and "{" not in text for text in said)
    assert len(set(said)) == len(said) > 20
    assert all(content.decode() for content in by_type["text/plain; charset=utf-8"])
    for content in by_type["audio/x-wav"]:
        assert content[:4] == b"RIFF"
        assert int.from_bytes(content[4:8], "little") == len(content) - 8
        with pytest.raises(UnicodeDecodeError):
            content.decode()


def test_steps_can_be_written_by_hand(empty: World) -> None:
    """A result that is canceled at once and never dated."""
    recording = empty.add_recording(ACCOUNT, NOW - HOUR)
    result = empty.add_result(recording, steps=(Step(NOW, "canceled"),), dated=False)

    assert result.date_created == NOW
    assert (result.at(NOW).status, result.at(NOW).date_completed) == ("canceled", None)
    assert shown(empty, NOW - timedelta(seconds=1)) == []
