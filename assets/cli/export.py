"""The command `addon-export export`: on a terminal what was exported and what comes next, for programs JSON."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from assets.terminal import show
from pipelines.errors import FixConfiguration
from pipelines.settings import environment, twilio_settings, warehouse_settings

if TYPE_CHECKING:
    from pipelines.export import Progress


def add_export_command(export: argparse.ArgumentParser, add_days: Callable[..., None]) -> None:
    """Give the parser of `export` its options; `add_days` adds --from and --to."""
    export.set_defaults(run=_export, needs_account=True)
    add_days(export)
    export.add_argument("--full", action="store_true", help="list settled recordings again too")
    export.add_argument(
        "--no-wait", action="store_true", help="leave at once (exit code 5) while another run uses Twilio"
    )
    export.add_argument(
        "--add-account", action="store_true", help="let this account into a root that belongs to other accounts"
    )
    export.add_argument("--json", action="store_true", help="print the numbers as JSON, as where stdout is no terminal")


def _export(options: argparse.Namespace) -> int:
    from assets.cli.run import run_export

    if options.first is not None and options.last is not None and options.first > options.last:
        raise FixConfiguration(f"--from {options.first} is after --to {options.last}; swap them.")
    if options.add_account:
        os.environ["EXPORT_ADD_ACCOUNT"] = twilio_settings(environment()).account_sid
    progress = run_export(options.first, options.last, full=options.full, wait=not options.no_wait)
    if options.json or not sys.stdout.isatty():
        show(json.dumps(_numbers(progress)))
    else:
        show(f"{summary(progress)}\n{_next(progress)}")
    return 0


def _numbers(progress: "Progress") -> dict[str, object]:
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


def summary(progress: "Progress") -> str:
    """One sentence: rows and bytes that are landed new, and what they cost."""
    requests = f"{progress.traffic().requests:,} requests"
    counts = [
        f"{rows:,} {what}"
        for table, what in (
            ("recordings", "recordings"),
            ("add_on_results", "add-on results"),
            ("contents", f"contents ({progress.extraction.content_bytes:,} bytes)"),
        )
        if (rows := progress.landed.get(table, 0))
    ]
    if counts:
        return f"Exported {', '.join(counts)} with {requests}."
    looked = progress.extraction.recordings + progress.discovery.settled
    changed = progress.changed.get("add_on_results", 0)
    return f"Nothing new: {looked:,} recordings looked at, {changed:,} results changed, with {requests}."


def _next(progress: "Progress") -> str:
    from warehouse.published.publish import NAME

    waits = progress.extraction.unfinished
    wait = f"{waits:,} results are unfinished at Twilio; the next export looks again.\n" if waits else ""
    file = warehouse_settings(environment()).root / NAME
    return (
        f"{wait}Next: `addon-export status` says what is safe, `addon-export sql --examples` has questions, and\n"
        f"{file} opens in DuckDB. Export every hour; what is landed is not fetched again."
    )
