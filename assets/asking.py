"""How an export is asked for: the job, what its run is told, and whether asking makes sense now."""

from datetime import date

import dagster as dg

from pipelines.errors import FixConfiguration
from pipelines.settings import environment, twilio_settings
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS

STEP = "export_add_ons"
"""The one step of the job."""

export_job = dg.define_asset_job(
    "export",
    selection=dg.AssetSelection.assets(ADD_ON_RESULTS.name, ADD_ON_PAYLOADS.name),  # a list of names loads a parser
    description="Export add-on results and contents before Twilio deletes them.",
)


def everything(*, full: bool = False) -> dg.RunConfig:
    """Run config of an export that is not limited to its partitions."""
    return dg.RunConfig(ops=op_config(everything=True, full=full))


def op_config(*, everything: bool, full: bool) -> dict[str, object]:
    """The part of a run config that says what the run exports."""
    return {STEP: {"config": {"everything": everything, "full": full}}}


def partition_tags(first: date, last: date) -> dict[str, str]:
    """Run tags that make one run of the partitions from `first` to `last`."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def unable() -> str | None:
    """Why Twilio cannot be asked; None when it can."""
    try:
        twilio_settings(environment())
    except FixConfiguration as error:
        return str(error)
    return None


def is_queued(instance: dg.DagsterInstance, tag: str, value: str, config: dg.RunConfig) -> bool:
    """Whether a run with this tag has not begun yet and will do what `config` says: one more would do it again.

    Whoever launches a run may give it any tag; what it will do is in its config.
    """
    waiting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], tags={tag: value}, job_name=export_job.name)
    return any(run.run_config.get("ops") == config.ops for run in instance.get_runs(waiting, limit=100))
