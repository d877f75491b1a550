"""Whether an erasure by age may go on now, or waits: for a day, or for somebody who confirms what it takes.

Pure. A retention mistyped, or a clock that was believed wrongly, must not take at the next hourly run what nobody else
has. So a new or shorter retention is announced a day before it first erases, and an erasure that takes more than its
usual share is a question. What was announced, asked and confirmed is kept in the archive.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, RECORDINGS

NOTICE = timedelta(days=1)
"""Between the announcement of a retention and its first erasure."""

SHARE = 0.2
"""Of the landed rows of a table: more is never erased without a question, but for FEW rows."""

USUAL_SHARE = 0.05
"""The same for more than twice of what the erasure before took."""

FEW = 10
"""Rows of a table that may go without a question where the erasure before took at least half as many."""

COUNTED = (RECORDINGS.name, ADD_ON_RESULTS.name, ADD_ON_PAYLOADS.name, CONTENTS.name)

Rows = Mapping[str, int]
"""Rows by table."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the archive remembers of erasures by age.

    Attributes:
        days: the retention that has been announced and is in force.
        announced: another one that is announced, and when (UTC).
        last: what the last erasure by age took.
        confirmed: the first day that stays, and how many rows may go with those before it.
        waits: why the erasure that is due waits, in a sentence.
    """

    days: int | None = None
    announced: tuple[int, datetime] | None = None
    last: Rows = field(default_factory=dict)
    confirmed: tuple[date, int] | None = None
    waits: str | None = None

    @classmethod
    def read(cls, value: Mapping[str, object]) -> "Kept":
        """From the archive's marker; what cannot be read counts as not kept, so that it is announced or asked again."""
        days, waits, last = value.get("days"), value.get("waits"), value.get("last")
        return cls(
            days if isinstance(days, int) else None,
            _announced(value.get("announced")),
            {str(name): n for name, n in last.items() if isinstance(n, int)} if isinstance(last, dict) else {},
            _confirmed(value.get("confirmed")),
            waits if isinstance(waits, str) else None,
        )

    def value(self) -> dict[str, object]:
        """For the marker."""
        announced = self.announced and {"days": self.announced[0], "at": self.announced[1].isoformat()}
        confirmed = self.confirmed and {"before": self.confirmed[0].isoformat(), "rows": self.confirmed[1]}
        return {
            "days": self.days,
            "announced": announced,
            "last": dict(self.last),
            "confirmed": confirmed,
            "waits": self.waits,
        }


@dataclass(frozen=True, slots=True)
class Waits:
    """An erasure by age that was not done. `asks`: it goes on only when somebody confirms what it takes."""

    sentence: str
    asks: bool


def decide(
    kept: Kept, *, days: int, before: date, now: datetime, shown: datetime, rows: Rows, landed: Rows
) -> tuple[Kept, Waits | None]:
    """Whether what is older than `days` days may be erased now, and what to remember.

    Args:
        kept: what the archive remembers.
        days: the retention that is set.
        before: the first day that stays.
        now: trusted time (UTC).
        shown: what time Twilio said it was; a notice begins no earlier, or a clock here that is behind would end it.
        rows: what would be erased.
        landed: what there is.
    """
    if kept.confirmed is not None and before <= kept.confirmed[0] and sum(rows.values()) <= kept.confirmed[1]:
        return replace(kept, waits=None), None
    if kept.days is None or days < kept.days:
        latest = max(now, shown)
        if kept.announced is None or kept.announced[0] != days or kept.announced[1] > latest:
            kept = replace(kept, announced=(days, latest))
        due = (kept.announced or (days, latest))[1] + NOTICE
        if now < due:
            waits = Waits(announcement(days, due, rows), asks=False)
            return replace(kept, waits=waits.sentence), waits
    kept = replace(kept, days=days, announced=None)
    if unusual(rows, landed, kept.last):
        waits = Waits(question(days, rows, landed), asks=True)
        return replace(kept, waits=waits.sentence), waits
    return replace(kept, waits=None), None


def erased(kept: Kept, rows: Rows, *, days: int) -> Kept:
    """What to remember after an erasure that took something."""
    return replace(kept, days=days, announced=None, confirmed=None, waits=None, last=dict(rows) if rows else kept.last)


def unusual(rows: Rows, landed: Rows, last: Rows) -> bool:
    """Whether an erasure takes more of a table than its share, or far more than the one before."""

    def one(name: str) -> bool:
        taken, before = rows.get(name, 0), last.get(name, 0)
        if taken <= min(2 * before, FEW):
            return False
        share = taken / max(landed.get(name, 0), taken)
        return share > SHARE or (bool(last) and taken > 2 * before and share > USUAL_SHARE)

    return any(one(name) for name in COUNTED)


def announcement(days: int, due: datetime, rows: Rows) -> str:
    """That a retention is new, and from when on it erases."""
    return (
        f"EXPORT_RETENTION_DAYS={days} is new or shorter: exports erase by it from {due:%Y-%m-%d %H:%M} UTC on; now it "
        f"would take {amounts(rows)}."
    )


def question(days: int, rows: Rows, landed: Rows) -> str:
    """What an erasure that waits would take, and how it is confirmed."""
    of = landed.get(ADD_ON_RESULTS.name, 0)
    return (
        f"Nothing was erased: what is older than {days} days is {amounts(rows)}, of {of} results landed, and more than "
        f"usual. If that is meant, run `addon-export erase --older --confirm {sum(rows.values())}`."
    )


def amounts(rows: Rows) -> str:
    """Rows in words."""
    if not sum(rows.values()):
        return "nothing"
    parts = ((ADD_ON_RESULTS.name, "results"), (CONTENTS.name, "contents"), (RECORDINGS.name, "recordings"))
    named = ", ".join(f"{rows.get(name, 0)} {word}" for name, word in parts)
    return f"{named} ({sum(rows.values())} rows in all)"


def _announced(value: object) -> tuple[int, datetime] | None:
    try:
        assert isinstance(value, dict)
        at = datetime.fromisoformat(value["at"])
        return None if at.tzinfo is None else (int(value["days"]), at)
    except (AssertionError, KeyError, OverflowError, TypeError, ValueError):
        return None


def _confirmed(value: object) -> tuple[date, int] | None:
    try:
        assert isinstance(value, dict)
        return date.fromisoformat(value["before"]), int(value["rows"])
    except (AssertionError, KeyError, OverflowError, TypeError, ValueError):
        return None
