"""Status: what is landed, pending, unfinished, lost and in quarantine, and how long until the next deadline.

Reads the archive only, so it answers while an export runs and when Twilio cannot be reached.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from warehouse import views
from warehouse.archive import Archive
from warehouse.publish import published
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, QUARANTINE, RECORDINGS

STATES = ("exported", "pending", "unfinished", "lost", "deleted")
"""What can have become of an add-on result; as in the `retention` view."""


@dataclass(frozen=True, slots=True)
class Day:
    """One partition: results by state. `day` is null for results without `date_completed`."""

    day: date | None
    states: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Status:
    """What the warehouse holds at `at` (UTC). `slack_hours` is the time left to `next_deadline`."""

    at: datetime
    commit: int
    committed_at: datetime | None
    published_commit: int | None
    recordings: int
    recordings_to_list: int
    results: Mapping[str, int]
    payloads: int
    contents: int
    content_bytes: int
    quarantined: int
    next_deadline: datetime | None
    slack_hours: float | None
    days: tuple[Day, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values: times in ISO 8601."""
        plain: dict[str, Any] = asdict(self)
        for name in ("at", "committed_at", "next_deadline"):
            plain[name] = None if plain[name] is None else plain[name].isoformat()
        plain["days"] = [
            {"completed_date": None if d.day is None else d.day.isoformat(), **d.states} for d in self.days
        ]
        return plain


def status(archive: Archive, *, now: datetime) -> Status:
    """Summarise the newest commit."""
    head = archive.head()
    results, payloads, recordings, quarantine = (
        archive.relation(table, head.tables[table.name])
        for table in (ADD_ON_RESULTS, ADD_ON_PAYLOADS, RECORDINGS, QUARANTINE)
    )
    with archive.database() as db:
        states = db.execute(
            f"""
            WITH state AS ({views.states(results, payloads, "$now")})
            SELECT completed_date, state, count(*),
                epoch_us(min(expires_at) FILTER (state IN ('pending', 'unfinished')))
            FROM state GROUP BY ALL ORDER BY completed_date NULLS FIRST, state
            """,
            {"now": now},
        ).fetchall()
        contents, content_bytes = db.execute(
            f"SELECT count(content_length), coalesce(sum(content_length), 0) FROM {payloads}"
        ).fetchall()[0]
        to_list = db.execute(
            f"SELECT count(*) FROM {recordings} WHERE listed_at IS NULL OR open_results > 0"
        ).fetchall()[0][0]
        quarantined = db.execute(f"SELECT count(*) FROM {quarantine}").fetchall()[0][0]
    deadlines = [row[3] for row in states if row[3] is not None]
    deadline = datetime.fromtimestamp(min(deadlines) / 1e6, tz=now.tzinfo) if deadlines else None
    days: dict[date | None, dict[str, int]] = {}
    for day, state, count, _ in states:
        days.setdefault(day, dict.fromkeys(STATES, 0))[state] = count
    shown = published(archive)
    return Status(
        at=now,
        commit=head.number,
        committed_at=head.at if head.number else None,
        published_commit=None if shown is None else shown.commit,
        recordings=head.rows(RECORDINGS.name),
        recordings_to_list=to_list,
        results={state: sum(counts[state] for counts in days.values()) for state in STATES},
        payloads=head.rows(ADD_ON_PAYLOADS.name),
        contents=contents,
        content_bytes=int(content_bytes),
        quarantined=quarantined,
        next_deadline=deadline,
        slack_hours=None if deadline is None else round((deadline - now).total_seconds() / 3600, 1),
        days=tuple(Day(day, counts) for day, counts in days.items()),
    )
