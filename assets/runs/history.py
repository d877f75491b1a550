"""What a run leaves in Dagster's history: its numbers, the partitions that landed, its tags, its signs of life.

Never a content, nor anything that anybody said: SIDs, statuses, dates and sizes only. Partitions are told apart by
what landed in them, not by what the run was started for.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from assets.graph import SOURCE, VIEWS
from assets.runs.instance import kept_open
from assets.runs.picture import as_markdown, picture
from assets.runs.preview import ROWS, preview_table
from pipelines.finished import Numbers, run_numbers
from pipelines.monitoring.days import ByDay, DayNumbers, by_day
from pipelines.monitoring.deadlines import Deadlines, deadlines
from pipelines.report import Progress
from pipelines.scope import Scope
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, RECORDINGS, Table
from warehouse.states import MISSED_STATES, RETENTION
from warehouse.store.archive import Archive
from warehouse.store.commit import Commit
from warehouse.store.sealed import partition_day

Told = Mapping[str, Set[date]]
"""By table: days that Dagster's history calls materialised."""

PARTITIONED = (ADD_ON_RESULTS, ADD_ON_PAYLOADS)

ON_PARTITIONS = (
    "requests",
    "requests_refused_429",
    "requests_retried",
    "seconds",
    "backlog",
    "results_lost",
    "hours_to_nearest_deadline",
)
"""Numbers of a run that are on the partitions of `add_on_results` it was started for too; `recordings` has them all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the archive holds after a run, and which days it changed."""

    run_id: str
    everything: bool
    published: bool
    now: datetime
    head: Commit
    by_day: ByDay
    waiting: Deadlines

    @classmethod
    def read(
        cls,
        archive: Archive,
        before: Commit,
        days: Sequence[date],
        scope: Scope,
        *,
        run_id: str,
        told: Told,
    ) -> "Outcome":
        """Read it, for `days`, every day that changed since `before`, and every day that Twilio may still hold.

        Also every landed day of which nobody has been `told`, however old: of all of them in a new history.

        Raises:
            RepairWarehouse: a live file is missing or damaged.
        """
        now = datetime.now(UTC)
        held = {now.date() - timedelta(days=n) for n in range(RETENTION.days + 1)}
        with archive.reading() as snapshot:
            head = snapshot.commit
            touched = {day for table in PARTITIONED for day in _touched(before, head, table)}
            untold = {day for table in PARTITIONED for day in _landed(head, table) - told[table.name]}
            found = by_day(snapshot, {*days, *held, *touched, *untold}, now=now, run_id=run_id, preview=ROWS)
        waiting = deadlines(archive, now=now, within=timedelta(0), settle=scope.settle)
        return cls(run_id, scope.first is None, head.number != before.number, now, head, found, waiting)

    def changed(self, table: Table) -> list[date]:
        """Days of a table in which the run landed a row, new or changed; joining small files changes none."""
        return sorted(
            day
            for day, numbers in self.by_day.days.items()
            if day is not None and (numbers.landed if table is ADD_ON_RESULTS else numbers.payloads_landed)
        )

    def whole(self, table: Table, *, own: set[date], told: Set[date], incomplete: bool) -> set[date]:
        """Days to call materialised beside those that Dagster will, which are the run's `own` unless it fails.

        Those in which something landed, and, once everything was exported, of those of which nobody has been `told`
        the landed ones and those in which there was nothing to land. A day that owes a content is not called so,
        whatever has landed of it. Of an incomplete run the own days that owe nothing are: what failed is not theirs.
        """
        held = {self.now.date() - timedelta(days=n) for n in range(RETENTION.days + 2)}
        held |= _landed(self.head, table)

        def owes(day: date) -> bool:
            states = self.by_day.of(day).states
            return bool(states["pending"] or (incomplete and any(states[state] for state in MISSED_STATES)))

        days = set(self.changed(table))
        days = days | own if incomplete else (days | (held - told if self.everything else set())) - own
        return {day for day in days if not owes(day)}

    def run(self, asked: Numbers, *, seconds: float) -> Numbers:
        """The whole run in numbers, of which `asked` are those of what it asked for and landed."""
        files = [*self.head.files()]
        numbers: Numbers = asked | {
            "seconds": round(seconds, 2),
            "commit": self.head.number,
            "rows": self.head.rows(ADD_ON_RESULTS.name),
            "archive_bytes": sum(file.bytes for file in files),
            "archive_files": len(files),
            "backlog": self.waiting.backlog,
            "results_lost": len(self.waiting.lost),
        }
        if self.waiting.slack_hours is not None:
            numbers["hours_to_nearest_deadline"] = self.waiting.slack_hours
        return numbers

    def partition(self, table: Table, day: date) -> Numbers:
        """One partition in numbers."""
        numbers = self._results(self.by_day.of(day)) if table is ADD_ON_RESULTS else _payloads(self.by_day.of(day))
        return numbers | {"commit": self.head.number}

    def pictures(self) -> Mapping[str, dg.MetadataValue]:
        """The picture of all days and a table of what is new. Once for each run: it is larger than all numbers."""
        drawn = picture(list(self.by_day.days.values()), now=self.now)
        return {
            "results_by_day": dg.MetadataValue.md(as_markdown(drawn, text="Results by day, and hours left at Twilio")),
            "preview": dg.MetadataValue.md(preview_table(self.by_day.preview)),
        }

    def _results(self, day: DayNumbers) -> Numbers:
        numbers: Numbers = {"dagster/partition_row_count": day.results, "bytes": day.result_file_bytes, **day.states}
        if day.next_deadline is not None:
            numbers["hours_left"] = round((day.next_deadline - self.now).total_seconds() / 3600, 1)
        return numbers


def _payloads(day: DayNumbers) -> Numbers:
    return {
        "dagster/partition_row_count": day.payloads,
        "contents": day.contents,
        "contents_missing": day.payloads - day.contents,
        "content_bytes": day.content_bytes,
        "bytes": day.payload_file_bytes,
    }


def tell(
    context: dg.AssetExecutionContext,
    outcome: Outcome,
    progress: Progress,
    numbers: Numbers,
    *,
    own: set[date],
    told: Told,
    incomplete: bool,
) -> None:
    """Say what was seen at Twilio, that tables and views without partitions are new, and which partitions landed."""
    days = {
        table.name: outcome.whole(table, own=own, told=told[table.name], incomplete=incomplete) for table in PARTITIONED
    }
    with kept_open(context.instance, outcome.run_id):
        observe(context, progress)
        for event in materialisations(outcome, numbers, days, partitions_of(context)):
            context.log_event(event)


def materialisations(
    outcome: Outcome, numbers: Numbers, days: Mapping[str, Set[date]], there_are: dg.PartitionsDefinition[str]
) -> Iterator[dg.AssetMaterialization]:
    """The tables and views without partitions that are new, and the partitions that landed, `days` by table."""
    rows = {"rows": outcome.head.rows(RECORDINGS.name)}
    yield dg.AssetMaterialization(RECORDINGS.name, metadata={"dagster/row_count": rows["rows"], **numbers, **rows})
    for view in VIEWS if outcome.published else ():
        yield dg.AssetMaterialization(view.key, metadata={"commit": outcome.head.number})
    for table in PARTITIONED:
        for day in sorted(days[table.name]):
            if there_are.has_partition_key(key := day.isoformat()):
                yield dg.AssetMaterialization(table.name, partition=key, metadata=outcome.partition(table, day))


def partitions_of(context: dg.AssetExecutionContext) -> dg.PartitionsDefinition[str]:
    """The partitions that the assets of a run have."""
    found: dg.PartitionsDefinition[str] | None = context.assets_def.partitions_def
    assert found is not None
    return found


def sign_of_life(context: dg.AssetExecutionContext, progress: Progress) -> None:
    """How far the run is: a line among the run's events, and an observation that plots."""
    context.log.info(sentence(progress))
    observe(context, progress)


def observe(context: dg.AssetExecutionContext, progress: Progress) -> None:
    """What has been asked of Twilio so far."""
    context.log_event(dg.AssetObservation(SOURCE, description=sentence(progress), metadata=run_numbers(progress)))


def sentence(progress: Progress) -> str:
    """How far a run is, for the list of its events."""
    found, traffic = progress.extraction, progress.traffic()
    return (
        f"{progress.discovery.recordings:,} recordings seen, {found.recordings + progress.discovery.settled:,} done: "
        f"{found.results:,} results, {found.contents:,} contents, {found.content_bytes / 1e6:,.1f} MB; "
        f"{traffic.requests:,} requests, {traffic.refused:,} of them refused (429)."
    )


def cause(tags: Mapping[str, str]) -> str:
    """What started a run, from the tags that Dagster and the command line put on it."""
    for tag, word in (
        ("dagster/backfill", "backfill"),
        ("dagster/schedule_name", "schedule"),
        ("dagster/sensor_name", "sensor"),
    ):
        if tag in tags:
            return word
    return "cli" if tags.get("addon_export") == "cli" else "by hand"  # whatever else somebody wrote there


def told_days(instance: dg.DagsterInstance) -> Told:
    """The partitions of each table that the history knows as materialised."""
    keys = {table.name: instance.get_materialized_partitions(dg.AssetKey(table.name)) for table in PARTITIONED}
    return {name: {date.fromisoformat(key) for key in found} for name, found in keys.items()}


def _landed(head: Commit, table: Table) -> set[date]:
    """Days of which a table holds rows."""
    return {day for file in head.tables[table.name].values() if (day := partition_day(file)) is not None}


def _touched(before: Commit, after: Commit, table: Table) -> set[date]:
    """Days of a table whose files differ between two commits."""
    old, new = before.tables[table.name], after.tables[table.name]
    changed = [file for files, other in ((old, new), (new, old)) for path, file in files.items() if path not in other]
    return {day for file in changed if (day := partition_day(file)) is not None}
