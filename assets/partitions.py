"""The partitions of all assets: one for each UTC day of `date_completed`, today included."""

import os
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg

from pipelines.errors import ExportError
from pipelines.settings import environment, start_date, warehouse_settings
from pipelines.shown_time import reading_time
from warehouse.landed import earliest_day
from warehouse.states import RETENTION
from warehouse.store.archive import Archive
from warehouse.store.files import ACCESS


def first_partition(*, now: datetime, asked: date | None = None) -> date:
    """The earliest day that has a partition.

    Twilio holds nothing older than 30 days, so partitions start there, or at EXPORT_START_DATE if that is
    earlier, or at the earliest day that is landed: what was exported stays visible for ever. `asked` is one more.
    """
    days = [(now - RETENTION).date() - timedelta(days=1)]
    days += [day for day in (asked, start_date(environment())) if day is not None]
    try:
        landed = earliest_day(_archive().head())
    except (ExportError, OSError):
        landed = None  # the run says what is wrong; the definitions must load all the same
    return min([*days, *([landed] if landed else [])])


def partitions(*, here: datetime, asked: date | None = None) -> dg.DailyPartitionsDefinition:
    """The days from the first to today, also where the clock here is behind or ahead of Twilio's, as far as is known.

    Dagster counts the last one from the clock here. `asked`: a day that has one, however long ago it is.
    """
    try:
        now = reading_time(_archive(), here=here)
    except (ExportError, OSError):
        now = here
    behind = max(0, (now.date() - here.date()).days)
    return dg.DailyPartitionsDefinition(
        start_date=first_partition(now=min(here, now), asked=asked).isoformat(), timezone="UTC", end_offset=1 + behind
    )


def _archive() -> Archive:
    root = Path(os.path.abspath(warehouse_settings(environment()).root))  # noqa: PTH100  # as open_archive does
    return Archive(root, ACCESS["none"])
