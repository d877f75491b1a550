"""What should run by itself and does not: schedules and sensors that somebody stopped, a pool without places.

Whoever gets into Dagster's UI can switch them off, and then nothing of them would say so. Each export, `status`, each
tick of `abandoned_runs` and of the alerts on deadlines looks for it. Exports and `abandoned_runs` write it into the
archive's marker, which the UI cannot reach: what, when it was noticed, by which run or tick, and when it was on again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import dagster as dg

from assets.channels.send import channel_names
from assets.runs.instance import opened
from assets.runs.pool import pool_is_shut
from pipelines.settings import environment
from warehouse.store.archive import Archive
from warehouse.store.marker import Marker, read_marker, update_marker

MEMBER = "switched_off"
"""Setting of the marker that keeps what was noticed."""

KEPT = 200
"""Entries that are kept, the newest."""

THE_POOL = "the pool twilio, which has no places"

Entry = Mapping[str, str | None]


def switched_off(instance: dg.DagsterInstance) -> list[str]:
    """What is off now, by kind and name."""
    names = {
        *("hourly_export", "daily_sweep", "urgent_export", "abandoned_runs", "standing_checks"),
        *(f"{kind}_alert_{channel}" for kind in ("deadline", "failed_run") for channel in channel_names(environment())),
    }
    off = {
        f"the {state.instigator_type.value.lower()} {state.instigator_name}"
        for state in (instance.all_instigator_state() if instance.schedule_storage else ())
        if not state.is_running and state.instigator_name in names
    }
    return [*([THE_POOL] if pool_is_shut(instance) else []), *sorted(off)]


def switched_off_in(home: Path) -> list[str]:
    """The same, of the history in a folder."""
    with opened(home) as instance:
        return switched_off(instance)


def sentence_on(off: Sequence[str]) -> str:
    """What is off, and what to do."""
    return (
        f"Switched off in Dagster: {', '.join(off)}; what is not exported in time is lost at Twilio. Switch it on "
        "again in the UI, under Automation or Concurrency."
    )


def notice(instance: dg.DagsterInstance, archive: Archive, *, by: str, now: datetime) -> list[str]:
    """What is off now, after it was written down if that is news.

    Args:
        instance: where it would be on.
        archive: whose marker keeps it.
        by: the run or tick that looks.
        now: UTC.

    Raises:
        WarehouseError: the marker cannot be read or written.
    """
    off = switched_off(instance)
    marker = read_marker(archive.root)
    if set(off) != {entry["what"] for entry in _kept(marker) if entry["until"] is None}:
        update_marker(archive, _with_news(off, by=by, now=now))
    return off


def _with_news(off: Sequence[str], *, by: str, now: datetime) -> Callable[[Marker], Marker]:
    def change(marker: Marker) -> Marker:
        kept = [
            {**entry, "until": now.isoformat()} if entry["until"] is None and entry["what"] not in off else entry
            for entry in _kept(marker)
        ]
        known = {entry["what"] for entry in kept if entry["until"] is None}
        news: list[Entry] = [
            {"what": what, "noticed_at": now.isoformat(), "noticed_by": by, "until": None}
            for what in off
            if what not in known
        ]
        return replace(marker, settings={**marker.settings, MEMBER: [*kept, *news][-KEPT:]})

    return change


def _kept(marker: Marker | None) -> list[Entry]:
    found = [] if marker is None else marker.settings.get(MEMBER, [])
    entries = found if isinstance(found, list) else []
    return [
        {name: entry.get(name) for name in ("what", "noticed_at", "noticed_by", "until")}
        for entry in entries
        if isinstance(entry, dict)
    ]
