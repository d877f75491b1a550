"""The command `addon-export verify`: everything read back."""

import json
from datetime import date

import click

from assets.cli.arguments import Command, check_order, days
from assets.cli.ending import ExitCode
from assets.cli.opened import open_to_read
from assets.terminal import say, show
from warehouse.memory import return_freed_memory
from warehouse.upkeep import verify

STRANGERS_SHOWN = 5
"""Files of others that are printed."""


@click.command(
    cls=Command,
    epilog="""
    Examples:
      addon-export verify
      addon-export verify --from 2026-11-01 --to 2026-11-30 --json
    """,
)
@days()
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(first: date | None, last: date | None, as_json: bool) -> int:
    """Read everything back and compare it with what was received; exit code 4 when something differs."""
    return_freed_memory()
    check_order(first, last)
    found = verify.verify(open_to_read(), first=first, last=last)
    if as_json:
        show(json.dumps(_facts(found)))
    else:
        _tell(found)
    return ExitCode.MISMATCH if found.mismatches else ExitCode.OK


def _facts(found: verify.Verification) -> dict[str, object]:
    return {
        "commit": found.commit,
        "published_commit": found.published_commit,
        "files": found.files,
        "bytes": found.bytes,
        "contents": found.contents,
        "mismatches": [{"kind": m.kind, "subject": m.subject, "sentence": m.sentence} for m in found.mismatches],
        "strangers": found.strangers,
    }


def _tell(found: verify.Verification) -> None:
    for mismatch in found.mismatches:
        show(mismatch.sentence)
    if found.published_commit not in (None, found.commit):
        show(f"addons.duckdb shows commit {found.published_commit} of {found.commit}; the next export publishes.")
    show(
        f"{found.files} files ({found.bytes:,} bytes) and {found.contents} contents read back: "
        f"{len(found.mismatches) or 'no'} mismatches."
    )
    if found.strangers:
        named = ", ".join(found.strangers[:STRANGERS_SHOWN])
        more = "" if len(found.strangers) <= STRANGERS_SHOWN else "; `verify --json` has them all"
        say(f"{len(found.strangers)} files under EXPORT_ROOT were not made by addon-export: {named}{more}.")
