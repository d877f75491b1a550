"""Checks: what must hold of what is landed, and for each what does not and why, as rows of a table.

They read the archive only, never Twilio, so they answer without credentials, beside a running export and on an empty
warehouse. All of them share one reading of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Literal

from pipelines.monitoring.completeness import completeness
from pipelines.monitoring.deadlines import Deadlines, deadlines
from pipelines.settings import Windows
from warehouse import known
from warehouse.clock import moment
from warehouse.quarantine import open_rows
from warehouse.schema import (
    ADD_ON_PAYLOADS,
    ADD_ON_RESULTS,
    KNOWN_STATUSES,
    QUARANTINE,
    RECORDINGS,
    RESOLUTIONS,
    Table,
    shown_status_sql,
)
from warehouse.states import RETENTION
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.damage import reading_errors
from warehouse.upkeep.verify import orphans, twice, verify_files

SIDS = 10
"""SIDs named in one row."""

BYTES = 32 << 20
"""Stored bytes that one evaluation reads back; the next goes on with the files after them. An export reads back what it
lands itself, so this is for what is at rest."""

SINCE = timedelta(days=31)
"""Partitions looked at for completeness: what Twilio holds, and a day."""

Row = Mapping[str, str | int | float | None]
Number = int | float | str
Severity = Literal["WARN", "ERROR"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found. Without rows it has passed."""

    rows: Sequence[Row]
    sentence: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    severity: Severity = "ERROR"


@dataclass(frozen=True)
class Reading:
    """One state of the archive, and what several checks want to know of it. `resume` is where reading back goes on."""

    archive: Archive
    now: datetime
    settle: timedelta
    windows: Windows
    resume: str = ""

    @cached_property
    def snapshot(self) -> Snapshot:
        """The archive as its newest commit has it."""
        return self.archive.newest()

    @property
    def head(self) -> Commit:
        """That commit."""
        return self.snapshot.commit

    @cached_property
    def deadlines(self) -> Deadlines:
        """What is waiting."""
        return deadlines(self.archive, now=self.now, within=self.windows.warn, settle=self.settle)

    @cached_property
    def owing(self) -> known.Owing:
        """The files that must be read to say what has become of every result."""
        with reading_errors(self.archive.root):
            return known.owing_of(self.snapshot)

    def relation(self, table: Table, files: Iterable[LiveFile] | None = None) -> str:
        """SQL for the live rows of a table, or of some of its files."""
        return self.snapshot.relation(table) if files is None else self.snapshot.to_read(table, files)

    def ask(self, sql: str, **values: object) -> list[Row]:
        """Rows of an answer, as plain values; times as microseconds are up to the query."""
        with reading_errors(self.archive.root), self.archive.database() as db:
            cursor = db.execute(sql, values or None)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def unique(*tables: Table) -> Callable[[Reading], Verdict]:
    """A check for SIDs that some of these tables hold more than once."""

    def check(reading: Reading) -> Verdict:
        rows: list[Row] = []
        for table in tables:
            with reading_errors(reading.archive.root):
                if known.all_apart(reading.snapshot, table):
                    continue
            rows += ({"table": table.name, **row} for row in reading.ask(twice(table, reading.relation(table))))
        counts = {f"{table.name}_rows": reading.head.rows(table.name) for table in tables}
        return Verdict(rows, f"{len(rows)} SIDs are landed more than once; run `addon-export verify`.", counts)

    return check


def have_result(reading: Reading) -> Verdict:
    """Payloads whose result is not landed although the recording counts as done."""
    rows: list[Row] = []
    if orphaned := reading.owing.orphaned:
        payloads = reading.relation(ADD_ON_PAYLOADS, orphaned)
        found = reading.ask(orphans(payloads, *map(reading.relation, (RECORDINGS, ADD_ON_RESULTS))))
        rows = [{**row, "reason": "its result is not landed"} for row in found]
    numbers = {"payloads": reading.head.rows(ADD_ON_PAYLOADS.name)}
    return Verdict(rows, f"{len(rows)} payloads belong to a result that is not landed.", numbers)


def contents_match(reading: Reading) -> Verdict:
    """Files and contents that are not what was landed, among the next of them to be read back."""
    files = sorted(reading.head.files(), key=lambda f: f.path)
    chosen = next_files(files, after=reading.resume, limit=BYTES)
    mismatches = verify_files(reading.snapshot, chosen)
    rows: list[Row] = [{"what": m.kind, "subject": m.subject, "reason": m.sentence} for m in mismatches]
    numbers: dict[str, Number] = {
        "files_read_back": len(chosen),
        "bytes_read_back": sum(file.bytes for file in chosen),
        "files": len(files),
        "bytes": sum(file.bytes for file in files),
        RESUME: chosen[-1].path if chosen else "",
    }
    return Verdict(rows, f"{len(rows)} of what was read back is not what was landed.", numbers)


RESUME = "read_back_up_to"


def next_files(files: Sequence[LiveFile], *, after: str, limit: int) -> list[LiveFile]:
    """The files that follow the path `after`, from the start again at the end, up to `limit` bytes and at least one."""
    start = next((n for n, file in enumerate(files) if file.path > after), 0)
    chosen: list[LiveFile] = []
    size = 0
    for file in (*files[start:], *files[:start]):
        if chosen and size + file.bytes > limit:
            break
        chosen.append(file)
        size += file.bytes
    return chosen


def quarantine_empty(reading: Reading) -> Verdict:
    """What is open in quarantine; an error while Twilio may still hold something of it."""
    if not reading.head.rows(QUARANTINE.name):
        return Verdict([], "", {"quarantined": 0, "quarantined_in_30_days": 0})
    found = reading.ask(
        "SELECT kind, sid, parent_sid, reason, epoch_us(quarantined_at) AS at FROM "
        f"{open_rows(reading.relation(QUARANTINE), reading.relation(RESOLUTIONS))} "
        "ORDER BY quarantined_at DESC, quarantine_id"
    )
    recent = sum(_moment(row["at"]) > reading.now - RETENTION for row in found)
    return Verdict(
        [{**row, "at": f"{_moment(row['at']):%Y-%m-%d %H:%M}"} for row in found],
        f"{len(found)} rows are in quarantine, {recent} of them since what Twilio may still hold: see "
        "`addon-export quarantine list`; the table `quarantine` has their raw bytes.",
        {"quarantined": len(found), "quarantined_in_30_days": recent},
        "ERROR" if recent else "WARN",
    )


def statuses_known(reading: Reading) -> Verdict:
    """Statuses that are not in Twilio's documentation."""
    ours = ", ".join(f"'{status}'" for status in KNOWN_STATUSES)
    files = reading.snapshot.files(ADD_ON_RESULTS)
    with reading_errors(reading.archive.root):
        of_files = known.known(reading.snapshot, ADD_ON_RESULTS, files)
    strange = [file for file in files if of_files[file.path].unknown]
    rows = reading.ask(
        f"SELECT coalesce({shown_status_sql('status')}, 'null') AS status, count(*) AS results, min(sid) AS example "
        f"FROM {reading.relation(ADD_ON_RESULTS, strange)} WHERE status IS NULL OR status NOT IN ({ours}) "
        "GROUP BY ALL ORDER BY 1"
    )
    sentence = f"Twilio uses {len(rows)} statuses that this version does not know; their results are landed as sent."
    return Verdict(rows, sentence, {"unknown_statuses": len(rows)}, "WARN")


def days_complete(reading: Reading) -> Verdict:
    """Days that are over and not complete, newest first."""
    if not reading.head.number:
        return Verdict([], "")
    last = reading.now.astimezone(UTC).date() - timedelta(days=1)  # today is not over: it cannot be complete
    days = completeness(reading.archive, first=last - SINCE, last=last, now=reading.now, settle=reading.settle)
    rows: list[Row] = [
        {
            "day": f"{day.day}",
            "results": day.results,
            "exported": day.exported,
            "unlisted": _some(day.unlisted),
            "unfinished": _some(day.unfinished),
            "missing": _some(day.missing),
            "lost": _some(day.lost),
            "reasons": " ".join(day.reasons()),
        }
        for day in reversed(days)
        if not day.complete
    ]
    numbers = {"days": len(days), "days_complete": len(days) - len(rows), "missing": sum(len(d.missing) for d in days)}
    return Verdict(rows, f"{len(rows)} of {len(days)} days are not complete.", numbers, "WARN")


def before_deadline(reading: Reading) -> Verdict:
    """What is not exported and expires within the window, nearest deadline first."""
    found = reading.deadlines
    urgent = sum(risk.expires_at <= reading.now + reading.windows.error for risk in found.at_risk)
    rows: list[Row] = [
        {
            "what": risk.kind,
            "sid": risk.sid,
            "recording": risk.reference_sid,
            "account": risk.account or None,
            "completed_date": None if risk.completed_date is None else f"{risk.completed_date}",
            "expires_at": f"{risk.expires_at:%Y-%m-%d %H:%M}",
            "hours_left": risk.hours_left,
            "reason": risk.reason,
        }
        for risk in found.at_risk
    ]
    numbers: dict[str, Number] = {"at_risk": len(rows), "at_risk_soon": urgent, "backlog": found.backlog}
    if found.slack_hours is not None:
        numbers["hours_to_nearest_deadline"] = found.slack_hours
    return Verdict(
        rows,
        f"{len(rows)} expire at Twilio within {reading.windows.warn.days} days and are not exported, {urgent} of them "
        f"within {reading.windows.error.days} days.",
        numbers,
        "ERROR" if urgent else "WARN",
    )


def nothing_lost(reading: Reading) -> Verdict:
    """What expired before it was whole here; an error for 30 days, then something to remember."""
    lost = reading.deadlines.lost
    if not lost:
        return Verdict([], "", {"lost": 0, "lost_in_30_days": 0})
    found = reading.ask(
        f"SELECT sid, reference_sid AS recording, {shown_status_sql('status')} AS status, "
        "epoch_us(coalesce(expires_at, first_seen_at + $kept)) AS expired_at "
        f"FROM {reading.relation(ADD_ON_RESULTS, reading.owing.results)} "
        "WHERE list_contains($lost, sid) ORDER BY expired_at DESC, sid",
        lost=list(lost),
        kept=RETENTION,
    )
    recent = sum(_moment(row["expired_at"]) > reading.now - RETENTION for row in found)
    return Verdict(
        [{**row, "expired_at": f"{_moment(row['expired_at']):%Y-%m-%d %H:%M}"} for row in found],
        f"{len(lost)} results expired at Twilio before they were whole here, {recent} of them in the last 30 days.",
        {"lost": len(lost), "lost_in_30_days": recent},
        "ERROR" if recent else "WARN",
    )


GUARDS: Mapping[tuple[str, str], Callable[[Reading], Verdict]] = {
    (ADD_ON_RESULTS.name, "unique_sids"): unique(RECORDINGS, ADD_ON_RESULTS),
    (ADD_ON_PAYLOADS.name, "unique_sids"): unique(ADD_ON_PAYLOADS),
    (ADD_ON_PAYLOADS.name, "have_result"): have_result,
    (ADD_ON_PAYLOADS.name, "contents_match"): contents_match,
}
"""By table and name: checks that must pass for anything to be deleted, and for an export to end well."""


def _some(sids: Sequence[str]) -> str:
    """The first SIDs, for a cell of a table."""
    more = f" and {len(sids) - SIDS} more" if len(sids) > SIDS else ""
    return ", ".join(islice(sids, SIDS)) + more


def _moment(microseconds: object) -> datetime:
    found = moment(microseconds) if isinstance(microseconds, int) else None
    assert found is not None, "the schema has no null there"
    return found
