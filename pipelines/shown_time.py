"""The time that Twilio has said, kept in the archive: a second clock for commands that do not talk to Twilio."""

from dataclasses import replace
from datetime import datetime, timedelta

from pipelines.clock import amount
from warehouse.clock import APART, trusted_now
from warehouse.store.archive import Archive
from warehouse.store.marker import read_marker, update_marker


def remember(archive: Archive, said: datetime | None, *, ahead: timedelta | None) -> None:
    """Keep what time Twilio says it is, if it does; what it said before is replaced, as that may have been wrong.

    `ahead`: how far the clock here was ahead of it, if they did not agree.

    Raises:
        WarehouseError: the marker of the archive cannot be read or written.
    """
    if said is not None:
        seconds = None if ahead is None else round(ahead.total_seconds())
        shown_at = said.replace(microsecond=0)
        update_marker(archive, lambda marker: replace(marker, shown_at=shown_at, clock_ahead=seconds))


def clock_sentence(archive: Archive, *, here: datetime) -> str | None:
    """What is wrong with the clock here, as the last export found it, or as it is behind what Twilio said then.

    Raises:
        WarehouseError: the marker of the archive cannot be read.
    """
    marker = read_marker(archive.root)
    if marker is None or marker.shown_at is None:
        return None
    if here < marker.shown_at - APART:
        return f"{amount(here - marker.shown_at)} what Twilio's said at the last export."
    if marker.clock_ahead is None:
        return None
    return f"{amount(timedelta(seconds=marker.clock_ahead))} Twilio's at the last export, which used Twilio's."


def shown_time(archive: Archive) -> datetime | None:
    """What time it was when Twilio was asked last (UTC); None when that is not known.

    Raises:
        WarehouseError: the marker of the archive cannot be read.
    """
    marker = read_marker(archive.root)
    return None if marker is None else marker.shown_at


def trusted_time(archive: Archive, *, here: datetime) -> datetime | None:
    """The time (UTC) by which something may be destroyed here and now, given the clock here; None when nothing may be.

    Raises:
        WarehouseError: as `shown_time`.
    """
    return trusted_now(here, shown_time(archive))


def reading_time(archive: Archive, *, here: datetime) -> datetime:
    """The time (UTC) by which deadlines are shown without asking Twilio.

    A clock that the last export found ahead is still as far ahead, unless that would be before what Twilio said then.

    Raises:
        WarehouseError: as `shown_time`.
    """
    marker = read_marker(archive.root)
    if marker is None or marker.shown_at is None:
        return here
    corrected = here - timedelta(seconds=max(0, marker.clock_ahead or 0))
    return max(here, marker.shown_at) if corrected < marker.shown_at - APART else corrected


def stamp_time(archive: Archive, *, here: datetime) -> datetime:
    """The time (UTC) by which rows are stamped without asking Twilio: a clock that is behind does not turn time back.

    Raises:
        WarehouseError: as `shown_time`.
    """
    return max(here, shown_time(archive) or here)
