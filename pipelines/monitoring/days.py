"""The archive by UTC day: results by state, bytes, the nearest deadline, and a few rows to look at.

Reads metadata only, never a content, and only the days that are asked for, so it costs the same beside a million
landed results of other days. Numbers are those of one commit and one moment.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import pyarrow as pa

from warehouse import known
from warehouse.clock import moment
from warehouse.published import views
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, LOADS, Table
from warehouse.states import OPEN_STATES, STATES, state_in
from warehouse.store.archive import Snapshot
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.damage import reading_errors
from warehouse.store.facts import FileFacts
from warehouse.store.sealed import partition_day


@dataclass(frozen=True, slots=True)
class DayNumbers:
    """One partition. `day` is null for results without `date_completed`.

    Attributes:
        day: UTC day of `date_completed`.
        states: results by state, every state named.
        landed: results that the run asked about landed new or changed.
        payloads: payloads, and `payloads_landed` those that the run landed new or changed.
        contents: payloads whose content is landed, and `content_bytes` their length in bytes.
        result_file_bytes: bytes of the live Parquet files of results; `payload_file_bytes` of payloads and contents.
        next_deadline: the earliest `expires_at` (UTC) of what is waiting; null when nothing is.
    """

    day: date | None
    states: Mapping[str, int]
    landed: int = 0
    payloads: int = 0
    payloads_landed: int = 0
    contents: int = 0
    content_bytes: int = 0
    result_file_bytes: int = 0
    payload_file_bytes: int = 0
    next_deadline: datetime | None = None

    @property
    def results(self) -> int:
        """Results of the day, whatever their state."""
        return sum(self.states.values())

    @property
    def waiting(self) -> int:
        """Results that still have to be exported."""
        return sum(self.states[state] for state in OPEN_STATES)


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One result as a table shows it: SIDs, status, dates and sizes; nothing that anybody said."""

    sid: str
    reference_sid: str | None
    status: str | None
    date_completed: datetime | None
    state: str
    hours_left: float | None
    payloads: int
    content_bytes: int


@dataclass(frozen=True, slots=True)
class ByDay:
    """The days asked for that hold something, and the newest results that the run landed."""

    days: Mapping[date | None, DayNumbers]
    preview: Sequence[PreviewRow] = field(default=())

    def of(self, day: date | None) -> DayNumbers:
        """Numbers of one day, zeros where nothing is landed."""
        return self.days.get(day) or DayNumbers(day, dict.fromkeys(STATES, 0))


def by_day(snapshot: Snapshot, days: Collection[date], *, now: datetime, run_id: str, preview: int = 0) -> ByDay:
    """Numbers of `days` and of the null partition in one commit.

    Args:
        snapshot: where to look.
        days: UTC days of `date_completed`.
        now: what hours and states are reckoned from (UTC).
        run_id: whose rows count as landed.
        preview: how many of the newest rows it landed are wanted.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    archive, loads = snapshot.archive, snapshot.relation(LOADS)
    with reading_errors(archive.root), archive.database() as db:
        db.execute(f"CREATE TABLE own AS SELECT load_id FROM {loads} WHERE run_id = $run", {"run": run_id})
        own = {load for (load,) in db.execute("FROM own").fetchall()}
        files = _Files.of(snapshot, {*days, None}, own)
        results = snapshot.to_read(ADD_ON_RESULTS, files.results)
        payloads = snapshot.to_read(ADD_ON_PAYLOADS, files.payloads)
        db.execute(
            f"""
            CREATE TABLE result AS
            SELECT s.*, r.date_completed, r.load_id IN (FROM own) AS landed
            FROM ({views.states(results, payloads, "$now")}) s JOIN {results} r ON r.sid = s.sid
            """,
            {"now": now},
        )
        db.execute(f"CREATE TABLE payload AS {_PAYLOADS.format(payloads)}")
        counted = db.execute(_COUNTED).fetchall()
        db.execute(f"CREATE TABLE newest AS {_NEWEST}", {"rows": preview})
        newest = {sid for (sid,) in db.execute("SELECT sid FROM newest").fetchall()}
        delivered = snapshot.to_read(ADD_ON_PAYLOADS, _delivered(snapshot, {*days, None}, newest))
        db.execute(f"CREATE OR REPLACE TABLE payload AS {_PAYLOADS.format(delivered)}")
        shown = db.execute(_SHOWN).fetchall()
    result_bytes = _file_bytes(snapshot.commit, (ADD_ON_RESULTS,))
    payload_bytes = _file_bytes(snapshot.commit, (ADD_ON_PAYLOADS, CONTENTS))
    days_found = dict(files.settled)
    for day, deadline, landed, payload_count, payloads_landed, contents, content_bytes, *counts in counted:
        settled = files.settled.get(day) or DayNumbers(day, dict.fromkeys(STATES, 0))
        days_found[day] = DayNumbers(
            day,
            {state: settled.states[state] + count for state, count in zip(STATES, counts, strict=True)},
            landed,
            settled.payloads + payload_count,
            payloads_landed,
            settled.contents + contents,
            settled.content_bytes + content_bytes,
            next_deadline=moment(deadline),
        )
    days_found = {
        day: replace(numbers, result_file_bytes=result_bytes.get(day, 0), payload_file_bytes=payload_bytes.get(day, 0))
        for day, numbers in days_found.items()
    }
    rows = [
        PreviewRow(sid, recording, status, moment(completed), state, hours, count, size)
        for sid, recording, status, completed, state, hours, count, size in shown
    ]
    return ByDay(days_found, tuple(rows))


@dataclass(frozen=True, slots=True)
class _Files:
    """The files that must be read to count some days, and the numbers of the others, by day."""

    results: Sequence[LiveFile]
    payloads: Sequence[LiveFile]
    settled: Mapping[date | None, DayNumbers]

    @classmethod
    def of(cls, snapshot: Snapshot, days: Collection[date | None], own: Collection[str]) -> "_Files":
        """Those that still owe something, and those with rows of a run's `own` loads."""
        owing = known.owing_of(snapshot, days)
        results = _to_read(snapshot, ADD_ON_RESULTS, days, owing.results, own)
        payloads = _to_read(snapshot, ADD_ON_PAYLOADS, days, owing.payloads, own)
        settled: dict[date | None, DayNumbers] = {}
        for file, of_file in _others(snapshot, ADD_ON_RESULTS, days, results):
            day = settled.setdefault(at := partition_day(file), DayNumbers(at, dict.fromkeys(STATES, 0)))
            states = {"exported": of_file.exported, "deleted": of_file.deleted}
            settled[at] = replace(day, states={s: count + states.get(s, 0) for s, count in day.states.items()})
        for file, of_file in _others(snapshot, ADD_ON_PAYLOADS, days, payloads):
            day = settled.setdefault(at := partition_day(file), DayNumbers(at, dict.fromkeys(STATES, 0)))
            settled[at] = replace(
                day,
                payloads=day.payloads + of_file.rows,
                contents=day.contents + of_file.contents,
                content_bytes=day.content_bytes + of_file.content_bytes,
            )
        return cls(results, payloads, {day: numbers for day, numbers in settled.items() if _holds(numbers)})


def _holds(numbers: DayNumbers) -> bool:
    return bool(numbers.results or numbers.payloads)


def _to_read(
    snapshot: Snapshot, table: Table, days: Collection[date | None], owing: Sequence[LiveFile], own: Collection[str]
) -> list[LiveFile]:
    """The files of some days that are `owing` or hold rows of `own` loads."""
    files, must = snapshot.files(table, days), {file.path for file in owing}
    of_files = known.known(snapshot, table, files)
    return [file for file in files if file.path in must or not {*own}.isdisjoint(of_files[file.path].loads)]


def _others(
    snapshot: Snapshot, table: Table, days: Collection[date | None], read: Sequence[LiveFile]
) -> Iterator[tuple[LiveFile, FileFacts]]:
    """The files of some days that are not `read`, with what is known of them."""
    files = [file for file in snapshot.files(table, days) if file not in read]
    of_files = known.known(snapshot, table, files)
    return ((file, of_files[file.path]) for file in files)


def _delivered(snapshot: Snapshot, days: Collection[date | None], results: Collection[str]) -> list[LiveFile]:
    """The files of some days with payloads of these results."""
    files = {file.path: file for file in snapshot.files(ADD_ON_PAYLOADS, days)}
    sids = pa.array(sorted(results), pa.string())
    return [
        files[path] for path in snapshot.archive.keys.holding(snapshot.archive.root, files, "add_on_result_sid", sids)
    ]


_PAYLOADS = "SELECT add_on_result_sid, completed_date, content_length, load_id IN (FROM own) AS landed FROM {}"


_SUMS = ("results_landed", "payloads", "payloads_landed", "contents", "content_bytes", *STATES)

_COUNTED = f"""
SELECT completed_date, min(deadline), {", ".join(f"sum({name})::BIGINT" for name in _SUMS)}
FROM (
    SELECT completed_date, {", ".join(f"count(*) FILTER (state = '{state}') AS {state}" for state in STATES)},
        count(*) FILTER (landed) AS results_landed, 0 AS payloads, 0 AS payloads_landed, 0 AS contents,
        0 AS content_bytes, epoch_us(min(expires_at) FILTER ({state_in(OPEN_STATES)})) AS deadline
    FROM result GROUP BY completed_date
    UNION ALL BY NAME
    SELECT completed_date, {", ".join(f"0 AS {state}" for state in STATES)}, 0 AS results_landed, count(*) AS payloads,
        count(*) FILTER (landed) AS payloads_landed, count(content_length) AS contents,
        coalesce(sum(content_length), 0) AS content_bytes, NULL AS deadline
    FROM payload GROUP BY completed_date
) GROUP BY completed_date
"""

_NEWEST = "FROM result WHERE landed ORDER BY date_completed DESC NULLS LAST, sid LIMIT $rows"

_SHOWN = """
SELECT sid, any_value(reference_sid), any_value(status), epoch_us(any_value(date_completed)) AS completed,
    any_value(state), any_value(hours_left), count(add_on_result_sid), coalesce(sum(content_length), 0)::BIGINT
FROM newest LEFT JOIN payload ON add_on_result_sid = sid
GROUP BY sid ORDER BY completed DESC NULLS LAST, sid
"""


def _file_bytes(commit: Commit, tables: Collection[Table]) -> Mapping[date | None, int]:
    """Bytes of live files by partition day."""
    sizes: dict[date | None, int] = {}
    for table in tables:
        for file in commit.tables[table.name].values():
            day = partition_day(file)
            sizes[day] = sizes.get(day, 0) + file.bytes
    return sizes
