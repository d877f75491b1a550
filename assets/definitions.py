"""The Dagster code location: everything the UI, the daemon and `dagster` commands see."""

import contextlib
import os
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg

from assets.asking import export_job
from assets.checks import check_add_ons
from assets.delete import DELETED, delete_job, delete_schedules
from assets.export import export_add_ons
from assets.graph import EXTERNAL, PAYLOADS_SPEC, RESULTS_SPEC, TABLE_NAME
from assets.partitions import partitions
from assets.resources import Twilio, Warehouse, fresh_progress, no_values
from assets.runs.home import make_private
from assets.schedules import daily_sweep, hourly_export
from assets.sensors import abandoned_runs, alert_sensors, standing_checks, urgent_export
from pipelines.errors import ExportError
from pipelines.report import Progress
from pipelines.settings import environment, warehouse_settings
from warehouse.store.names import PUBLISHED

BY_DAY = {RESULTS_SPEC.key, PAYLOADS_SPEC.key, DELETED.key}
"""Assets with a partition for each day."""


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions for a process that Dagster has started, which is put right first, as a command's is."""
    os.environ.pop("SSLKEYLOGFILE", None)
    os.umask(0o077)  # runs are such processes, and Dagster makes the files of its history as open as this lets it
    if os.environ.get("DAGSTER_HOME"):
        make_private(Path(os.environ["DAGSTER_HOME"]))  # those that it made before it came here
    return build_definitions()


def build_definitions(
    progress: Progress | None = None, *, first: date | None = None, let_in: str = ""
) -> dg.Definitions:
    """The definitions for the settings and the archive as they are now.

    Args:
        progress: keeps the counters of the run for whoever shows them; None gives each run its own.
        first: a day that has a partition, however long ago it is.
        let_in: an account that may export into a root that belongs to others.
    """
    counters = dg.ResourceDefinition(fresh_progress)
    if progress is not None:
        counters = dg.ResourceDefinition.hardcoded_resource(progress)
    return dg.Definitions(
        assets=_placed(partitions(here=datetime.now(UTC), asked=first)),
        asset_checks=[check_add_ons],
        jobs=[export_job, delete_job],
        schedules=[hourly_export, daily_sweep, *delete_schedules()],
        sensors=[urgent_export, abandoned_runs, standing_checks, *alert_sensors()],
        resources={
            "twilio": Twilio(),
            "warehouse": Warehouse(),
            "progress": counters,
            "let_in": dg.ResourceDefinition.hardcoded_resource(let_in),
            "io_manager": no_values,
        },
        executor=dg.in_process_executor,
    )


def _placed(days: dg.PartitionsDefinition[str]) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """The assets in their partitions, and with the file that has their tables."""
    file: dict[str, str] = {}
    with contextlib.suppress(ExportError, ValueError):  # a run says what is wrong with EXPORT_ROOT; the graph must load
        file["dagster/uri"] = (warehouse_settings(environment()).root.absolute() / PUBLISHED).as_uri()

    def place(spec: dg.AssetSpec) -> dg.AssetSpec:
        if TABLE_NAME in spec.metadata:
            spec = spec.merge_attributes(metadata=file)
        return spec.replace_attributes(partitions_def=days) if spec.key in BY_DAY else spec

    return list(dg.map_asset_specs(place, [*EXTERNAL, export_add_ons, DELETED]))
