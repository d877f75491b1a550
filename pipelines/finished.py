"""Exports that came to their end, as the marker of the archive keeps the newest: what each covered, and its numbers.

What a process that was killed has landed is in the archive too, but whether that is all that Twilio has of a day is not
known. Whoever shows which days are landed goes by this, whatever made the export and on which host.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from pipelines.report import ExportReport, Progress
from warehouse.errors import WarehouseError
from warehouse.schema import ADD_ON_RESULTS
from warehouse.store.archive import Archive
from warehouse.store.marker import Marker, read_marker, update_marker

MEMBER = "finished"
"""Setting of the marker that keeps them."""

KEPT = 24

Numbers = dict[str, int | float]


@dataclass(frozen=True, slots=True)
class Finished:
    """One export, or one retry of what was in quarantine, which `lists` nothing.

    `number`: counts on from export to export. `before` and `commit`: numbers of the commits it began and ended with.
    `first` and `last`: the days it was asked for; None for everything. `incomplete`: something of them is not landed.
    """

    number: int
    run_id: str
    before: int
    commit: int
    first: date | None
    last: date | None
    incomplete: bool
    lists: bool
    seconds: float
    numbers: Numbers


def run_numbers(progress: Progress) -> Numbers:
    """What a run has asked for and landed so far. They plot under these names: do not rename them lightly."""
    traffic, found = progress.traffic(), progress.extraction
    wrong = {} if progress.clock_ahead is None else {"clock_ahead_hours": _hours(progress.clock_ahead)}
    return wrong | {
        "recordings_listed": found.recordings,
        "recordings_settled": progress.discovery.settled,
        "results_seen": found.results,
        "results_new": progress.landed.get(ADD_ON_RESULTS.name, 0),
        "results_changed": progress.changed.get(ADD_ON_RESULTS.name, 0),
        "results_unfinished": found.unfinished,
        "contents_new": progress.landed.get("contents", 0),
        "content_bytes": found.content_bytes,
        "requests": traffic.requests,
        "requests_refused_429": traffic.refused,
        "requests_retried": traffic.retried,
    }


def _hours(span: timedelta) -> float:
    return round(span.total_seconds() / 3600, 2)


def of_export(report: ExportReport, *, run_id: str, before: int) -> Callable[[Marker], Marker]:
    """A change of the marker that keeps an export that has ended."""
    scope, progress = report.scope, report.progress
    return _with(
        {
            "run_id": run_id,
            "before": before,
            "commit": progress.commit,
            "first": None if scope.first is None else scope.first.isoformat(),
            "last": None if scope.last is None else scope.last.isoformat(),
            "incomplete": report.incomplete,
            "lists": True,
            "seconds": round(report.seconds, 2),
            "numbers": run_numbers(progress),
        }
    )


def note_retry(archive: Archive, *, run_id: str, before: int, commit: int) -> None:
    """Keep that a retry has landed something: the days it touched are as whole as they were, and hold more."""
    facts = {"run_id": run_id, "before": before, "commit": commit, "first": None, "last": None}
    with contextlib.suppress(WarehouseError):  # what was landed is; of a damaged marker `verify` says it
        update_marker(archive, _with({**facts, "incomplete": True, "lists": False, "seconds": 0.0, "numbers": {}}))


def _with(facts: Mapping[str, object]) -> Callable[[Marker], Marker]:
    def change(marker: Marker) -> Marker:
        kept = _kept(marker)
        number = max((each.number for each in map(_read, kept) if each is not None), default=0) + 1
        return marker.with_setting(MEMBER, [*kept, {"number": number, **facts}][-KEPT:])

    return change


def finished(root: Path) -> Sequence[Finished]:
    """Those that are kept, oldest first; none where there is no marker, or a damaged one, which `verify` names."""
    try:
        marker = read_marker(root)
    except WarehouseError:
        return ()
    found = [] if marker is None else [each for each in map(_read, _kept(marker)) if each is not None]
    return sorted(found, key=lambda each: each.number)


def _kept(marker: Marker) -> list[Mapping[str, object]]:
    found = marker.settings.get(MEMBER, [])
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _read(entry: Mapping[str, object]) -> Finished | None:
    """One entry; None of one that cannot be read, as a later version may have written it."""
    first, last, numbers = entry.get("first"), entry.get("last"), entry.get("numbers")
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return Finished(
            int(str(entry["number"])),
            str(entry["run_id"]),
            int(str(entry["before"])),
            int(str(entry["commit"])),
            None if first is None else date.fromisoformat(str(first)),
            None if last is None else date.fromisoformat(str(last)),
            entry["incomplete"] is not False,
            entry["lists"] is True,
            float(str(entry["seconds"])),
            {str(name): value for name, value in dict(numbers).items()} if isinstance(numbers, dict) else {},
        )
    return None
