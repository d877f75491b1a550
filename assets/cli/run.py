"""One export as a Dagster run in this process, with progress on a terminal.

The run is recorded in DAGSTER_HOME, so the UI that `addon-export ui` starts shows it. The first error of our own tree
that made the run fail is raised again, so that the command line can say it in one sentence.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError  # it is in no public module

from assets.asking import STEP, export_job, op_config, partition_tags
from assets.checks import check_add_ons
from assets.cli.opened import open_and_say
from assets.export import export_add_ons
from assets.graph import EXTERNAL, placed
from assets.partitions import partitions
from assets.progress_line import progress_line
from assets.resources import resources
from assets.runs.home import dagster_home, home_errors
from assets.runs.instance import opened
from assets.runs.pool import Patience, slot
from assets.runs.switched_off import notice, sentence_on
from assets.terminal import say
from pipelines.errors import ExportError, FixConfiguration, VerificationMismatch
from pipelines.report import Progress
from pipelines.scope import Scope, no_longer_kept
from pipelines.settings import environment, twilio_settings, warehouse_settings
from pipelines.shown_time import reading_time
from warehouse.store.archive import Archive


def run_export(
    first: date | None, last: date | None, *, full: bool, wait: bool = True, add_account: bool = False
) -> Progress:
    """Run the export job for the partitions from `first` to `last`; without dates, for everything.

    With `wait` it waits for another run that uses Twilio; else, or if one of the same waits already, it leaves. With
    `add_account` the account is let into a root that belongs to others.

    Raises:
        ExportError: what made the run fail; what was landed before stays.
    """
    settings = twilio_settings(environment())  # before anything is started, so that a missing one is said at once
    target = warehouse_settings(environment())
    archive = open_and_say(target)
    now = reading_time(archive, here=datetime.now(UTC))
    everything = first is None and last is None
    first, last = _days(first, last, today=now.date())
    home = dagster_home(archive.root)
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    progress = Progress()
    job = _job(progress, first=first, let_in=settings.account_sid if add_account else "")
    config = dg.RunConfig(
        ops=op_config(everything=everything, full=full),
        loggers={"console": {"config": {"log_level": "CRITICAL"}}},
    )
    if not everything and (sentence := no_longer_kept(Scope(first, last), now=now)) is not None:
        say(sentence)
    say(f"Exporting account {settings.account_sid} to {target.root} ({target.destination}).")
    # what a waiting export of everything will do is all that another one could
    patience = Patience(wait, ("full" if full else "everything") if everything else None)
    run_id = str(uuid.uuid4())
    with (
        home_errors(),
        opened(home) as instance,
        _telling_what_is_off(instance, archive),
        slot(instance, run_id, STEP, waits=say, sleep=time.sleep, patience=patience),
        progress_line("recordings", lambda: _numbers(progress)),
        _telling_the_outcome(progress),
    ):
        job.execute_in_process(
            run_id=run_id,
            instance=instance,
            run_config=config,
            tags={**partition_tags(first, last), "addon_export": "cli"},
        )
    return progress


def _days(first: date | None, last: date | None, *, today: date) -> tuple[date, date]:
    """The run's days, of those that were asked for; without any, yesterday and today.

    Raises:
        FixConfiguration: they have not come yet.
    """
    if first is not None and first > today:
        raise FixConfiguration(f"--from {first} is in the future, today is {today} (UTC): nothing can be exported yet.")
    if first is None and last is None:
        return today - timedelta(days=1), today
    last = last or today
    first = first or min(last, today - timedelta(days=30))
    if last > today:
        say(f"--to {last} is in the future; exporting up to today, {today}.")
        last = today
    return first, last


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
        for note in progress.notes:
            say(note)


@contextlib.contextmanager
def _telling_what_is_off(instance: dg.DagsterInstance, archive: Archive) -> Iterator[None]:
    """Say after the work what should run by itself and does not, as it was before it."""
    off = notice(instance, archive, by="addon-export export", now=datetime.now(UTC))
    try:
        yield
    finally:
        if off:
            say(sentence_on(off))


def _numbers(progress: Progress) -> tuple[int, int, str]:
    """What the line of progress shows."""
    found, traffic = progress.extraction, progress.traffic()
    wait = traffic.told_to_wait_until - time.monotonic()  # the clock of the loop
    told = f"told to wait {wait:.0f} s, " if wait >= 1 else ""
    numbers = (
        f"{told}{found.results} results, {found.contents} contents, {found.content_bytes / 1e6:.1f} MB, "
        f"{traffic.requests} requests"
    )
    return progress.discovery.recordings, found.recordings + progress.discovery.settled, numbers
