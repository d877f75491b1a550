"""What is off in Dagster, said, written down, and read from its history without Dagster, which takes seconds.

Dagster's history is SQLite where `dagster.yaml` says nothing of storage. Its tables are Dagster's own business: what
cannot be read so is asked of Dagster itself (`assets.runs.switched_off`).
"""

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from assets.channels.send import channel_names
from pipelines.settings import environment
from warehouse.store.archive import Archive
from warehouse.store.marker import Marker, read_marker, update_marker

MEMBER = "switched_off"
"""Setting of the marker that keeps what was noticed."""

KEPT = 200
"""Entries that are kept, the newest."""

POOL = "twilio"
"""The pool of every step that asks Twilio: see `assets.runs.pool`."""

THE_POOL = "the pool twilio, which has no places"

ELSEWHERE = re.compile(rb"^[^#]*storage", re.MULTILINE)
"""In a `dagster.yaml`: the history may be kept otherwise than by default."""

Entry = Mapping[str, str | None]


def off_among(stopped: Iterable[tuple[str, str]], *, shut: bool) -> list[str]:
    """What is off, of all schedules and sensors that are `stopped` (kind and name), and of the pool."""
    names = {
        *("hourly_export", "daily_sweep", "urgent_export", "abandoned_runs", "standing_checks", "landed_days"),
        *(f"{kind}_alert_{channel}" for kind in ("deadline", "failed_run") for channel in channel_names(environment())),
    }
    return [*([THE_POOL] if shut else []), *sorted({f"the {kind} {name}" for kind, name in stopped if name in names})]


def read_off(home: Path) -> list[str] | None:
    """What is off by the history in a folder; None when Dagster must be asked."""
    try:
        with contextlib.suppress(FileNotFoundError):
            if ELSEWHERE.search((home / "dagster.yaml").read_bytes()):
                return None
        bodies = _ask(home / "schedules" / "schedules.db", "SELECT instigator_body FROM instigators")
        limits = _ask(
            home / "history" / "runs" / "index.db",
            'SELECT "limit" FROM concurrency_limits WHERE concurrency_key = ?',
            POOL,
        )
        states = [json.loads(body) for (body,) in bodies]
        stopped = [
            (state["job_type"]["__enum__"].rpartition(".")[2].lower(), state["origin"]["job_name"])
            for state in states
            if state["status"]["__enum__"].rpartition(".")[2] == "STOPPED"
        ]
        return off_among(stopped, shut=any(limit < 1 for (limit,) in limits))
    except (OSError, sqlite3.Error, ValueError, KeyError, TypeError, AttributeError):
        return None


def _ask(path: Path, sql: str, *values: str) -> list[tuple[Any]]:
    """Rows of an answer; none where there is no such database yet."""
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(sql, values).fetchall()


def sentence_on(off: Sequence[str]) -> str:
    """What is off, and what to do."""
    return (
        f"Switched off in Dagster: {', '.join(off)}; what is not exported in time is lost at Twilio. Switch it on "
        "again in the UI, under Automation or Concurrency."
    )


def write_down(off: Sequence[str], archive: Archive, *, by: str, now: datetime) -> None:
    """Keep in the archive's marker what is off, if that is news.

    Args:
        off: what is off now.
        archive: whose marker keeps it.
        by: the run or tick that looked.
        now: UTC.

    Raises:
        WarehouseError: the marker cannot be read or written.
    """
    marker = read_marker(archive.root)
    if set(off) != {entry["what"] for entry in _kept(marker) if entry["until"] is None}:
        update_marker(archive, _with_news(off, by=by, now=now))


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
