"""The Dagster code location: everything the UI, the daemon and `dagster` commands see."""

import os
from pathlib import Path

import dagster as dg

from assets.checks import check_add_ons
from assets.delete import DELETED, delete_job, delete_schedules
from assets.export import export_add_ons, export_job
from assets.graph import EXTERNAL
from assets.resources import Twilio, Warehouse, fresh_progress, no_values
from assets.runs.home import make_private
from assets.schedules import daily_sweep, hourly_export
from assets.sensors import abandoned_runs, alert_sensors, standing_checks, urgent_export
from pipelines.export import Progress

os.environ.pop("SSLKEYLOGFILE", None)  # as `assets.cli.process` does for commands
os.umask(0o077)  # runs are processes that Dagster starts, and it makes the files of its history as open as this lets it
if os.environ.get("DAGSTER_HOME"):
    make_private(Path(os.environ["DAGSTER_HOME"]))  # those that it made before it came here


def build_definitions(progress: Progress | None = None) -> dg.Definitions:
    """The definitions; with `progress`, the run's counters are kept in it for whoever shows them."""
    counters = dg.ResourceDefinition(fresh_progress)
    if progress is not None:
        counters = dg.ResourceDefinition.hardcoded_resource(progress)
    return dg.Definitions(
        assets=[*EXTERNAL, export_add_ons, DELETED],
        asset_checks=[check_add_ons],
        jobs=[export_job, delete_job],
        schedules=[hourly_export, daily_sweep, *delete_schedules()],
        sensors=[urgent_export, abandoned_runs, standing_checks, *alert_sensors()],
        resources={"twilio": Twilio(), "warehouse": Warehouse(), "progress": counters, "io_manager": no_values},
        executor=dg.in_process_executor,
    )


defs = build_definitions()
