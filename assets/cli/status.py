"""The command `addon-export status`: what is safe, what is not, and how long is left."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from assets.cli.accounts import account_lines
from assets.cli.arguments import Command
from assets.cli.opened import open_to_read
from assets.runs.home import dagster_home, history_folder, home_errors
from assets.terminal import say, show
from pipelines.errors import FixConfiguration
from pipelines.monitoring.status import Status, status
from pipelines.settings import environment, settle_time, warehouse_settings
from warehouse.store.sharing import WHOSE

DAYS_SHOWN = 10
"""Incomplete partitions that are printed."""


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
def command(as_json: bool) -> None:
    """Say what is landed, pending, unfinished, quarantined and lost, and when the next deadline is."""
    found = status(open_to_read(), now=datetime.now(UTC), settle=settle_time(environment()))
    off = _switched_off(warehouse_settings(environment()).root)
    show(json.dumps({**found.as_json(), "switched_off": off}) if as_json else "\n".join(_lines(found, off)))


def _lines(found: Status, off: Sequence[str]) -> list[str]:
    read = "never" if found.listed_at is None else f"{found.listed_at:%Y-%m-%d %H:%M} UTC"
    next_one = "none: nothing is waiting to be exported"
    if found.next_deadline is not None:
        next_one = f"{found.next_deadline:%Y-%m-%d %H:%M} UTC, {found.slack_hours} hours left"
    lines = [
        f"results     {', '.join(f'{count} {state}' for state, count in found.results.items())}",
        f"contents    {found.contents} landed, {found.content_bytes:,} bytes",
        f"recordings  {found.recordings} known, {found.recordings_to_list} to be listed again",
        f"quarantine  {found.quarantined} rows open",
        f"commit      {found.commit}, published {_shown(found.published_commit)}",
        f"readable    by {WHOSE[found.shared_read]}",
        *_partitions(found),
        *account_lines(found.accounts),
        f"listed      {read}: when the list of recordings was last read to its end",
        f"deadline    {next_one}",
    ]
    if off:
        lines.append(
            f"off         {', '.join(off)}: switched off in Dagster, which exports and alerts by itself no more"
        )
    if found.erasure_waits is not None:
        lines.append(f"retention   {found.erasure_waits}")
    if found.clock is not None:
        lines.append(f"clock       of this machine: {found.clock}")
    return lines


def _partitions(found: Status) -> list[str]:
    days = [day.completeness for day in found.days if day.completeness is not None]
    incomplete = [day for day in days if day.over and not day.complete]
    more = len(incomplete) - DAYS_SHOWN
    return [
        f"partitions  {sum(day.complete for day in days)} complete, {len(incomplete)} not",
        *(f"            {day.day}: {' '.join(day.reasons())}" for day in incomplete[:DAYS_SHOWN]),
        *([f"            and {more} more; `status --json` has them all"] if more > 0 else []),
    ]


def _shown(commit: int | None) -> str:
    return "nothing that can be opened" if commit is None else str(commit)


def _switched_off(root: Path) -> list[str]:
    """What should run by itself and does not, where Dagster has a history; a history that is no good is said."""
    if history_folder(root) is None:
        return []
    from assets.runs.switched_off import switched_off_in  # Dagster takes longer to import than all else here

    try:
        with home_errors():
            return switched_off_in(dagster_home(root))
    except FixConfiguration as error:
        say(str(error))
        return []
