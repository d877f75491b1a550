"""The partitions of all assets: one for each UTC day of `date_completed`, today included."""

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg

from pipelines.dates import RETENTION
from pipelines.errors import ExportError
from pipelines.settings import environment, start_date, warehouse_settings
from warehouse.archive import Archive
from warehouse.files import ACCESS
from warehouse.landed import earliest_day


def first_partition(*, now: datetime) -> date:
    """The earliest day that has a partition.

    Twilio holds nothing older than 30 days, so partitions start there, or at EXPORT_START_DATE if that is
    earlier, or at the earliest day that is landed: what was exported stays visible for ever.
    """
    days = [(now - RETENTION).date() - timedelta(days=1)]
    if (asked := start_date(environment())) is not None:
        days.append(asked)
    try:
        root = Path(os.path.abspath(warehouse_settings(environment()).root))  # noqa: PTH100  # as open_archive does
        landed = earliest_day(Archive(root, ACCESS["none"]).head())
    except (ExportError, OSError):
        landed = None  # the run says what is wrong; the definitions must load all the same
    return min([*days, *([landed] if landed else [])])


DAILY = dg.DailyPartitionsDefinition(
    start_date=first_partition(now=datetime.now(UTC)).isoformat(), timezone="UTC", end_offset=1
)
