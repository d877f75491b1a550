"""One export as a Dagster run in this process, with progress on a terminal: the demo, which shows the run in the UI.

The run is recorded in DAGSTER_HOME, so the UI that `addon-export ui` starts shows it. The first error of our own tree
that made the run fail is raised again, so that the command line can say it in one sentence.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError  # it is in no public module

from assets.asking import STEP, export_job, op_config, partition_tags
from assets.checks import check_add_ons
from assets.cli.asked import Asked, numbers, say_all
from assets.export import export_add_ons
from assets.graph import EXTERNAL, placed
from assets.partitions import partitions
from assets.progress_line import progress_line
from assets.resources import resources
from assets.runs.home import dagster_home, home_errors
from assets.runs.instance import opened
from assets.runs.off import sentence_on
from assets.runs.pool import slot
from assets.runs.switched_off import notice
from assets.runs.turn import Patience
from assets.terminal import say
from pipelines.errors import ExportError, VerificationMismatch
from pipelines.report import Progress
from warehouse.store.archive import Archive


def export_as_a_run(asked: Asked, *, wait: bool = True) -> Progress:
    """Run the export job for what is asked for; raises as `assets.cli.direct.export_here`."""
    home = dagster_home(asked.archive.root)
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    progress = Progress()
    job = _job(progress, first=asked.first, let_in=asked.let_in)
    config = dg.RunConfig(
        ops=op_config(everything=asked.everything, full=asked.full),
        loggers={"console": {"config": {"log_level": "CRITICAL"}}},
    )
    run_id = str(uuid.uuid4())
    with (
        home_errors(),
        opened(home) as instance,
        _telling_what_is_off(instance, asked.archive),
        slot(instance, run_id, STEP, waits=say, sleep=time.sleep, patience=Patience(wait, asked.kind)),
        progress_line("recordings", lambda: numbers(progress)),
        _telling_the_outcome(progress),
    ):
        job.execute_in_process(
            run_id=run_id,
            instance=instance,
            run_config=config,
            tags={**partition_tags(asked.first, asked.last), "addon_export": "cli"},
        )
    return progress


def _job(progress: Progress, *, first: date, let_in: str) -> dg.JobDefinition:
    """The job that exports, with its checks, as Dagster's UI has it; `first` is a day that has a partition."""
    days = partitions(here=datetime.now(UTC), asked=first)
    return dg.Definitions(
        assets=placed([*EXTERNAL, export_add_ons], days),
        asset_checks=[check_add_ons],
        jobs=[export_job],
        resources=resources(progress, let_in=let_in),
        executor=dg.in_process_executor,
    ).resolve_job_def(export_job.name)


@contextlib.contextmanager
def _telling_the_outcome(progress: Progress) -> Iterator[None]:
    """Say what the run has noted, and raise what made it fail without what Dagster puts around it."""
    try:
        yield
    except dg.DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    except dg.Failure as failure:
        if isinstance(failure.__cause__, ExportError):
            raise failure.__cause__ from failure
        raise
    except DagsterAssetCheckFailedError as failed:
        raise VerificationMismatch(
            f"What is landed does not hold together ({' '.join(str(failed).split())}); run `addon-export verify`."
        ) from failed
    finally:
        say_all(progress.notes)


@contextlib.contextmanager
def _telling_what_is_off(instance: dg.DagsterInstance, archive: Archive) -> Iterator[None]:
    """Say after the work what should run by itself and does not, as it was before it."""
    off = notice(instance, archive, by="addon-export demo", now=datetime.now(UTC))
    try:
        yield
    finally:
        if off:
            say(sentence_on(off))
