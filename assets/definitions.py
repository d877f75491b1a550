"""The Dagster code location: everything the UI, the daemon and `dagster` commands see."""

import os
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from assets.asking import export_job
from assets.checks import check_add_ons
from assets.delete import DELETED, delete_job, delete_schedules
from assets.export import export_add_ons
from assets.graph import EXTERNAL, placed
from assets.partitions import partitions
from assets.resources import resources
from assets.runs.home import make_private
from assets.schedules import daily_sweep, hourly_export
from assets.sensors import abandoned_runs, alert_sensors, landed_days, standing_checks, urgent_export


@dg.configured(dg.colored_console_logger, config_schema={})
def console(_: object) -> dict[str, object]:
    """Dagster's, without config: a run's would name it, and so send commands to the terminal that its lines go to."""
    return {}


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions for a process that Dagster has started, which is put right first, as a command's is."""
    os.environ.pop("SSLKEYLOGFILE", None)
    os.umask(0o077)  # runs are such processes, and Dagster makes the files of its history as open as this lets it
    if os.environ.get("DAGSTER_HOME"):
        make_private(Path(os.environ["DAGSTER_HOME"]))  # those that it made before it came here
    return build_definitions()


def build_definitions() -> dg.Definitions:
    """The definitions for the settings and the archive as they are now."""
    return dg.Definitions(
        assets=placed([*EXTERNAL, export_add_ons, DELETED], partitions(here=datetime.now(UTC))),
        asset_checks=[check_add_ons],
        jobs=[export_job, delete_job],
        schedules=[hourly_export, daily_sweep, *delete_schedules()],
        sensors=[urgent_export, abandoned_runs, standing_checks, landed_days, *alert_sensors()],
        resources=resources(),
        executor=dg.in_process_executor,
        loggers={"console": console},
    )
