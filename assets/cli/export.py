"""The command `addon-export export`: on a terminal what was exported and what comes next, for programs JSON."""

import json
import sys
from datetime import date

import click

from assets.cli.arguments import Command, check_order, days
from assets.cli.summary import summary
from assets.terminal import show
from pipelines.report import Progress
from pipelines.settings import environment, twilio_settings, warehouse_settings
from warehouse.store.names import PUBLISHED


@click.command(
    cls=Command,
    epilog="""
    Examples:
      addon-export export
      addon-export export --from 2026-11-01 --to 2026-11-10
      addon-export export --full --json
    """,
)
@days()
@click.option("--full", is_flag=True, help="List settled recordings again too.")
@click.option("--no-wait", is_flag=True, help="Leave at once (exit code 5) while another run uses Twilio.")
@click.option("--add-account", is_flag=True, help="Let this account into a root that belongs to other accounts.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON, as where stdout is no terminal.")
def command(first: date | None, last: date | None, full: bool, no_wait: bool, add_account: bool, as_json: bool) -> None:
    """Export what can still be had and is not landed, or the days asked for."""
    twilio_settings(environment())  # first, so that missing credentials are said at once
    check_order(first, last)
    from assets.cli.asked import asked  # with Arrow and DuckDB, which take longer than to see all this
    from assets.cli.direct import export_here

    progress = export_here(asked(first, last, full=full, add_account=add_account), wait=not no_wait)
    if as_json or not sys.stdout.isatty():
        show(json.dumps(_numbers(progress)))
    else:
        show(f"{summary(progress)}\n{_next(progress)}")


def _numbers(progress: Progress) -> dict[str, object]:
    found, landed = progress.extraction, progress.landed
    return {
        "recordings_listed": found.recordings,
        "recordings_settled": progress.discovery.settled,
        "results_seen": found.results,
        "results_landed": landed.get("add_on_results", 0),
        "results_changed": progress.changed.get("add_on_results", 0),
        "results_unfinished": found.unfinished,
        "results_other_days": found.deferred,
        "payloads_landed": landed.get("add_on_payloads", 0),
        "contents_landed": landed.get("contents", 0),
        "content_bytes": found.content_bytes,
        "unknown_statuses": dict(found.unknown_statuses),
        "requests": progress.traffic().requests,
        "commit": progress.commit,
    }


def _next(progress: Progress) -> str:
    waits = progress.extraction.unfinished
    wait = f"{waits:,} results are unfinished at Twilio; the next export looks again.\n" if waits else ""
    file = warehouse_settings(environment()).root / PUBLISHED
    return (
        f"{wait}Next: `addon-export status` says what is safe, `addon-export sql --examples` has questions, and\n"
        f"{file} opens in DuckDB. Export every hour; what is landed is not fetched again."
    )
