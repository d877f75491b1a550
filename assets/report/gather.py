"""The figures of the page: those that SQL answers, and two that the archive knows and `addons.duckdb` does not."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pipelines.finished import Finished, finished
from pipelines.monitoring.completeness import Completeness, completeness
from pipelines.shown_time import reading_time
from warehouse.published.figures import DAYS, Figure, figures
from warehouse.store.archive import Archive


def gather(archive: Archive, *, now: datetime, settle: timedelta) -> Mapping[str, Figure]:
    """Every figure, by name.

    Args:
        archive: whose published file is asked, and its newest commit.
        now: by the clock here (UTC).
        settle: how long after its creation a recording may gain results.

    Raises:
        WarehouseError: nothing is published, or it or the archive cannot be read.
    """
    found = figures(archive.root)
    time = reading_time(archive, here=now)
    first = time.date() - timedelta(days=DAYS)
    days = (
        completeness(archive, first=first, last=time.date(), now=time, settle=settle) if archive.head().number else []
    )
    return {**found, "exports": exports(finished(archive.root), found["runs"]), "completeness": incomplete(days)}


def exports(ended: Sequence[Finished], runs: Figure) -> Figure:
    """What each of the kept exports asked for and landed, oldest first; those that landed nothing have no time."""
    landed = dict(zip(runs.column("run_id"), runs.column("landed_at"), strict=True))
    names = ("requests", "requests_refused_429", "requests_retried", "results_new", "contents_new", "content_bytes")
    return Figure(
        (
            "export",
            "landed_at",
            "first_day",
            "last_day",
            "incomplete",
            "seconds",
            "requests",
            "refused_429",
            "retried",
            "results",
            "contents",
            "content_bytes",
        ),
        tuple(
            (
                each.number,
                landed.get(each.run_id),
                None if each.first is None else each.first.isoformat(),
                None if each.last is None else each.last.isoformat(),
                each.incomplete,
                each.seconds,
                *(each.numbers.get(name) for name in names),
            )
            for each in ended
            if each.lists
        ),
    )


def incomplete(days: Sequence[Completeness]) -> Figure:
    """The days that are over and not complete, and why."""
    return Figure(
        ("completed_date", "results", "exported", "why"),
        tuple(
            (each.day.isoformat(), each.results, each.exported, " ".join(each.reasons()))
            for each in days
            if each.over and not each.complete
        ),
    )
