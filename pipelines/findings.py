"""Findings: standing questions to the warehouse, each with an answer, numbers, and a table of what is wrong.

Asked after each export and whenever somebody wants to know. They read the newest commit only, never Twilio, and hold
no content: a table names SIDs, days and reasons.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Literal

import duckdb

from pipelines.completeness import completeness
from pipelines.dates import RETENTION
from pipelines.deadlines import deadlines
from pipelines.verify import verify_days
from warehouse.archive import Archive, quote, reading_errors
from warehouse.commits import Commit
from warehouse.schema import (
    ADD_ON_PAYLOADS,
    ADD_ON_RESULTS,
    KNOWN_STATUSES,
    QUARANTINE,
    RECORDINGS,
    Table,
)

WARN_WITHIN = timedelta(days=7)
"""A deadline this near that is not met is a warning; exports should have met it weeks before."""

ERROR_WITHIN = timedelta(days=3)
"""A deadline this near is an error: there is a weekend left."""

MOST_ROWS = 50
"""Rows of a table; the number says how many there are."""

Severity = Literal["warning", "error"]
Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Question:
    """One standing question about a table. A `blocking` one, answered no, stops what rests on the table."""

    name: str
    table: str
    description: str
    blocking: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to a question: `sentence` in plain words, `numbers` that plot, `rows` of what is wrong."""

    question: Question
    passed: bool
    severity: Severity
    sentence: str
    numbers: Mapping[str, int | float] = field(default_factory=dict)
    rows: tuple[Mapping[str, Value], ...] = ()


def _question(name: str, table: Table, description: str, *, blocking: bool = False) -> Question:
    return Question(name, table.name, description, blocking)


QUESTIONS: Mapping[str, Question] = MappingProxyType(
    {
        question.name: question
        for question in (
            _question("recording_sids_are_unique", RECORDINGS, "Each recording has one row.", blocking=True),
            _question("result_sids_are_unique", ADD_ON_RESULTS, "Each add-on result has one row.", blocking=True),
            _question("payload_sids_are_unique", ADD_ON_PAYLOADS, "Each payload has one row.", blocking=True),
            _question("payloads_have_results", ADD_ON_PAYLOADS, "Each payload belongs to a landed result."),
            _question(
                "contents_hash_as_received",
                ADD_ON_PAYLOADS,
                "Contents, read back from the disk, have the SHA-256 they had on the wire: of the newest days, and of "
                "another day each day, so that each of the last 30 is read at least once a month.",
                blocking=True,
            ),
            _question("quarantine_is_empty", ADD_ON_RESULTS, "Nothing that came from Twilio was unreadable."),
            _question("statuses_are_known", ADD_ON_RESULTS, "Each status is one that is known."),
            _question(
                "partitions_are_complete",
                ADD_ON_RESULTS,
                "Each day of the last 30 that is over is landed whole, and nothing of it can come any more.",
            ),
            _question(
                "nothing_is_near_its_deadline",
                ADD_ON_RESULTS,
                "Nothing that is not exported is deleted by Twilio within 7 days (warning) or 3 days (error).",
            ),
            _question("nothing_is_lost", ADD_ON_RESULTS, "Nothing expired at Twilio before it was exported."),
        )
    }
)


def findings(archive: Archive, *, now: datetime, settle: timedelta) -> Iterator[Finding]:
    """Ask every question of `QUESTIONS`, in order.

    Args:
        archive: where to look; its newest commit.
        now: UTC.
        settle: how long after its creation a recording may gain results.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    head = archive.head()
    with reading_errors(archive.root), archive.database() as db:
        for table in (RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS):
            yield _unique(archive, head, db, table)
        yield _orphans(archive, head, db)
        yield _hashes(archive, now=now)
        yield _quarantine(archive, head, db)
        yield _statuses(archive, head, db)
    yield _complete(archive, now=now, settle=settle)
    yield from _deadlines(archive, now=now, settle=settle)


def _unique(archive: Archive, head: Commit, db: duckdb.DuckDBPyConnection, table: Table) -> Finding:
    names = {RECORDINGS: "recording_sids", ADD_ON_RESULTS: "result_sids", ADD_ON_PAYLOADS: "payload_sids"}
    relation = archive.relation(table, head.tables[table.name])
    rows = db.execute(f"SELECT sid, count(*) FROM {relation} GROUP BY sid HAVING count(*) > 1 ORDER BY sid").fetchall()
    return _answer(
        f"{names[table]}_are_unique",
        "error",
        [{"sid": sid, "rows": count} for sid, count in rows],
        good="Each SID has one row.",
        bad="SIDs have more than one row.",
        numbers={"rows": head.rows(table.name)},
    )


def _orphans(archive: Archive, head: Commit, db: duckdb.DuckDBPyConnection) -> Finding:
    payloads, results = (archive.relation(t, head.tables[t.name]) for t in (ADD_ON_PAYLOADS, ADD_ON_RESULTS))
    rows = db.execute(
        f"SELECT p.sid, p.add_on_result_sid FROM {payloads} p "
        f"ANTI JOIN (SELECT sid AS result FROM {results}) r ON r.result = p.add_on_result_sid ORDER BY p.sid"
    ).fetchall()
    return _answer(
        "payloads_have_results",
        "error",
        [{"sid": sid, "add_on_result_sid": result} for sid, result in rows],
        good="Each payload belongs to a landed result.",
        bad="payloads belong to results that are not landed.",
    )


def days_to_read_back(today: date) -> list[date]:
    """Today and yesterday, and one of the days before, a different one each day."""
    older = today - timedelta(days=2 + today.toordinal() % (RETENTION.days - 1))
    return [older, today - timedelta(days=1), today]


def _hashes(archive: Archive, *, now: datetime) -> Finding:
    days = days_to_read_back(now.astimezone(UTC).date())
    mismatches = verify_days(archive, days)
    return _answer(
        "contents_hash_as_received",
        "error",
        [{"subject": m.subject, "what": m.sentence} for m in mismatches],
        good=f"Read back as received: {', '.join(map(str, days))}.",
        bad="files or contents do not read back as received; run `addon-export verify`.",
    )


def _quarantine(archive: Archive, head: Commit, db: duckdb.DuckDBPyConnection) -> Finding:
    relation = archive.relation(QUARANTINE, head.tables[QUARANTINE.name])
    rows = db.execute(
        f"SELECT kind, sid, parent_sid, reason, strftime(quarantined_at, '%Y-%m-%d %H:%M') FROM {relation} "
        "ORDER BY quarantined_at DESC, kind, sid"
    ).fetchall()
    names = ("kind", "sid", "parent_sid", "reason", "quarantined_at")
    return _answer(
        "quarantine_is_empty",
        "warning",
        [dict(zip(names, row, strict=True)) for row in rows],
        good="Nothing was unreadable.",
        bad="pieces of input could not be landed as they should; their bytes are in `quarantine`.",
    )


def _statuses(archive: Archive, head: Commit, db: duckdb.DuckDBPyConnection) -> Finding:
    relation = archive.relation(ADD_ON_RESULTS, head.tables[ADD_ON_RESULTS.name])
    known = ", ".join(quote(status) for status in KNOWN_STATUSES)
    rows = db.execute(
        f"SELECT status, count(*), min(sid) FROM {relation} WHERE status NOT IN ({known}) GROUP BY status ORDER BY ALL"
    ).fetchall()
    return _answer(
        "statuses_are_known",
        "warning",
        [{"status": status, "results": count, "for_example": sid} for status, count, sid in rows],
        good="Each status is known.",
        bad="statuses are not known; their results are landed as they came.",
    )


def _complete(archive: Archive, *, now: datetime, settle: timedelta) -> Finding:
    today = now.astimezone(UTC).date()
    days = completeness(archive, first=today - timedelta(days=30), last=today, now=now, settle=settle)
    over = [day for day in days if day.over]
    rows: list[Mapping[str, Value]] = [
        {
            "day": f"{day.day}",
            "results": day.results,
            "exported": day.exported,
            "missing": len(day.missing),
            "unfinished": len(day.unfinished),
            "not_listed": len(day.unlisted),
            "lost": len(day.lost),
            "sids": ", ".join((*day.missing, *day.unfinished, *day.unlisted, *day.lost)[:5]),
            "why": " ".join(day.reasons()),
        }
        for day in over
        if not day.complete
    ]
    return _answer(
        "partitions_are_complete",
        "warning",
        rows if _landed(archive) else [],
        good=f"{len(over)} days are complete." if _landed(archive) else "Nothing has been exported yet.",
        bad=f"of {len(over)} days are not complete.",
        numbers={"complete": sum(day.complete for day in over), "days": len(over)},
    )


def _landed(archive: Archive) -> bool:
    return archive.head().number > 0


def _deadlines(archive: Archive, *, now: datetime, settle: timedelta) -> Iterator[Finding]:
    found = deadlines(archive, now=now, within=WARN_WITHIN, settle=settle)
    urgent = [risk for risk in found.at_risk if risk.expires_at <= now + ERROR_WITHIN]
    numbers: dict[str, int | float] = {"backlog": found.backlog, "within_7_days": len(found.at_risk)}
    if found.slack_hours is not None:
        numbers["slack_hours"] = found.slack_hours
    yield _answer(
        "nothing_is_near_its_deadline",
        "error" if urgent else "warning",
        [
            {
                "what": risk.kind,
                "sid": risk.sid,
                "recording": risk.reference_sid,
                "expires_at": f"{risk.expires_at:%Y-%m-%d %H:%M}",
                "hours_left": risk.hours_left,
                "why": risk.reason,
            }
            for risk in found.at_risk
        ],
        good="Nothing that is waiting expires within 7 days.",
        bad=f"are not exported and expire within 7 days, {len(urgent)} of them within 3 days.",
        numbers=numbers,
    )
    yield _answer(
        "nothing_is_lost",
        "error",
        [{"sid": sid} for sid in found.lost],
        good="Nothing is lost.",
        bad="results expired at Twilio before they were exported.",
    )


def _answer(
    name: str,
    severity: Severity,
    rows: Sequence[Mapping[str, Value]],
    *,
    good: str,
    bad: str,
    numbers: Mapping[str, int | float] | None = None,
) -> Finding:
    return Finding(
        QUESTIONS[name],
        not rows,
        severity,
        f"{len(rows)} {bad}" if rows else good,
        {"found": len(rows), **(numbers or {})},
        tuple(rows[:MOST_ROWS]),
    )
