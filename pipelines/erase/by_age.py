"""Erase by age: what is older than the retention, by trusted time, and only when it need not wait.

`pipelines.erase.retention` decides; what was announced, asked and confirmed is in the archive's marker.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

from pipelines.erase.choice import erase_older
from pipelines.erase.retention import COUNTED, Kept, Rows, Waits, amounts, decide, erased, question
from pipelines.errors import ConfirmErasure
from pipelines.shown_time import shown_time, trusted_time
from warehouse.clock import trusted_now
from warehouse.store.archive import Archive
from warehouse.store.marker import Marker, read_marker, update_marker
from warehouse.store.names import Destination
from warehouse.upkeep.erase import Erasure


def erase_by_age(
    archive: Archive, destination: Destination, *, days: int, here: datetime, wait: bool = False
) -> Erasure | Waits | None:
    """Erase what is older than `days` days, or say why that waits; None when there is nothing, or it is in use.

    Args:
        archive: where from.
        destination: what is published without it.
        days: the retention that is set.
        here: the clock of this machine (UTC).
        wait: wait until nobody uses the archive.

    Raises:
        RepairWarehouse, FixWarehouse: as `pipelines.erase.choice.erase_sids`.
    """
    shown = shown_time(archive)
    now = trusted_now(here, shown)
    if now is None or shown is None:
        rows = would_take(archive, destination, days=days, now=here)
        alone = f"Only the clock here says that it is {here:%Y-%m-%d %H:%M} UTC (an export asks Twilio). "
        return Waits(alone + question(days, rows, _landed(archive)), asks=True) if rows else None
    rows = would_take(archive, destination, days=days, now=now)
    landed, found = _landed(archive), list[Waits | None]()

    def change(marker: Marker) -> Marker:
        kept, waits = decide(
            Kept.read(marker.retention),
            days=days,
            before=_before(now, days),
            now=now,
            shown=shown,
            rows=rows,
            landed=landed,
        )
        found.append(waits)
        return replace(marker, retention=kept.value())

    update_marker(archive, change)
    if found[-1] is not None:
        return found[-1]
    return _erase(archive, destination, days=days, now=now, wait=wait) if rows else None


def confirm(archive: Archive, destination: Destination, *, days: int, here: datetime, rows: int) -> Erasure:
    """Erase what is older, by trusted time or by the clock here, as somebody has confirmed that it is `rows` rows.

    The confirmation is kept first, so that the next export goes on should this be cut off. Waits for the archive.

    Raises:
        ConfirmErasure: it is another number by now; nothing was erased.
        RepairWarehouse, FixWarehouse: as `pipelines.erase.choice.erase_sids`.
    """
    found = []
    for now in dict.fromkeys((trusted_time(archive, here=here), here)):
        if now is None:
            continue
        take = would_take(archive, destination, days=days, now=now)
        found.append(f"by the time {now:%Y-%m-%d %H:%M} UTC {amounts(take)}")
        if take and sum(take.values()) == rows:
            _remember(archive, partial(replace, confirmed=(_before(now, days), rows)))
            done = _erase(archive, destination, days=days, now=now, wait=True)
            if done is not None:
                return done
    raise ConfirmErasure(
        f"Nothing was erased: it is not {rows} rows that are older than {days} days, but {found[0]}."
        + (f" The clock here differs: {found[1]}." if found[1:] and found[1] != found[0] else "")
    )


def withdraw(archive: Archive) -> None:
    """Forget what was announced and asked: no retention is set any more."""
    marker = read_marker(archive.root)
    if marker is not None and marker.retention:
        _remember(archive, lambda kept: Kept(last=kept.last))


def would_take(archive: Archive, destination: Destination, *, days: int, now: datetime) -> Rows:
    """The rows, by table, that are older than `days` days at `now`."""
    found = erase_older(archive, destination, days=days, now=now, wait=True, dry_run=True)
    return {} if found is None else found.rows


def _erase(archive: Archive, destination: Destination, *, days: int, now: datetime, wait: bool) -> Erasure | None:
    done = erase_older(archive, destination, days=days, now=now, wait=wait)
    if done is not None:
        _remember(archive, lambda kept: erased(kept, done.rows, days=days))
    return done


def _remember(archive: Archive, change: Callable[[Kept], Kept]) -> None:
    update_marker(archive, lambda marker: replace(marker, retention=change(Kept.read(marker.retention)).value()))


def _landed(archive: Archive) -> Rows:
    head = archive.head()
    return {name: head.rows(name) for name in COUNTED}


def _before(now: datetime, days: int) -> date:
    """The first day that stays."""
    return now.astimezone(UTC).date() - timedelta(days=days)
